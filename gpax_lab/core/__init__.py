"""Arrays and algebra under everything: observations, their status, linear algebra, what comes in from outside."""
