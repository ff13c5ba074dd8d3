"""Tables of compositions and wells as people and spreadsheets write them."""

import numpy as np
import pytest

from gpax_lab.storage import UnreadableFile, load

FE, BIAS = [10.5, 20.25, 30.0], [-1.5, 0.25, 1e-3]
WRITTEN = {
    "comma": "Well,Fe [at%],Bias (V)\nA1,10.5,-1.5\nA2,20.25,.25\nB1,30,1e-3\n",
    "semicolon": "Well;Fe [at%];Bias (V)\r\nA1;10.5;-1.5\r\nA2;20.25;0.25\r\nB1;30;1E-3\r\n",
    "decimal comma": "Well;Fe [at%];Bias (V)\nA1;10,5;-1,5\nA2;20,25;,25\nB1;30;0,001\n",
    "tab and decimal comma": "Well\tFe [at%]\tBias (V)\nA1\t10,5\t-1,5\nA2\t20,25\t0,25\nB1\t30,0\t1,0e-3\n",
    "comments, quotes, empty lines": '# made by hand\n\n"Well","Fe [at%]","Bias (V)"\n"A1","10.5",-1.5\n\n'
    "A2, 20.25 ,0.25,\nB1,30,1e-3\n\n",
    "a byte order mark and sep=": "\ufeffsep=;\nWell;Fe [at%];Bias (V)\nA1;10.5;-1.5\nA2;20.25;0.25\nB1;30;0.001",
    "minus signs of typesetters": "Well,Fe [at%],Bias (V)\nA1,10.5,\u22121.5\nA2,20.25,.25\nB1,30,1e\u22123\n",
    "exponents of Fortran": "Well,Fe [at%],Bias (V)\nA1,1.05D+01,-1.5d0\nA2,2025D-02,.25\nB1,30,1.0D-03\n",
    "exponents of Fortran and decimal commas": "Well;Fe [at%];Bias (V)\nA1;1,05D+01;-1,5\nA2;20,25;,25\nB1;3D+1;1,D-3",
    "a comma in a unit": "Well;Fe [at%];Bias (V)\nA1;10.5;-1.5\nA2;20.25;0.25\nB1;30;0.001",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_table_is_read_as_it_was_meant(tmp_path, name):
    place = tmp_path / "library.csv"
    place.write_bytes(WRITTEN[name].encode())
    found = load(place)
    assert list(found) == ["Fe", "Bias"]
    np.testing.assert_array_equal(found["Fe"].values, FE)
    np.testing.assert_array_equal(found["Bias"].values, BIAS)
    assert [one.unit for one in found.values()] == ["at%", "V"]
    assert found["Fe"].metadata["columns"] == {"Well": ["A1", "A2", "B1"]}
    assert found["Fe"].axes[0].name == "row"


def test_other_encodings_missing_numbers_and_names_twice(tmp_path):
    place = tmp_path / "a.tsv"
    place.write_bytes("T [°C]\tR\tR\n25\t1\t\nn/a\t2\tNaN\n".encode("cp1252"))
    found = load(place)
    assert found["T"].unit == "°C"
    assert found["R"].unit == "a.u."
    np.testing.assert_array_equal(found["T"].values, [25, np.nan])
    np.testing.assert_array_equal(found["R_2"].values, [np.nan, np.nan])
    place.write_bytes("T [°C]\tR [Ω]\n25\t1\n".encode("utf-16"))
    assert load(place)["R"].unit == "Ω"


def test_a_table_without_names(tmp_path):
    (tmp_path / "a.csv").write_text("1,2.5\n3,4\n")
    found = load(tmp_path / "a.csv")
    assert {name: one.values.tolist() for name, one in found.items()} == {"column 1": [1, 3], "column 2": [2.5, 4]}


def test_words_that_look_like_numbers_stay_words(tmp_path):
    place = tmp_path / "a.csv"
    place.write_text("Well;Date;Version;Fe\n1D3;01.02.2024;1.234.5;2,5\n2D4;02.02.2024;2a;3\n")
    found = load(place)
    np.testing.assert_array_equal(found["Fe"].values, [2.5, 3])
    assert found["Fe"].metadata["columns"] == {
        "Well": ["1D3", "2D4"],
        "Date": ["01.02.2024", "02.02.2024"],
        "Version": ["1.234.5", "2a"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Fe,Ni\n1,2\n3\n", "line 3 has 1 cells for 2 columns"),
        ("Fe,Ni\n1,2\n\n3,4,5\n", "line 4 has 3 cells for 2 columns"),
        ("Fe,Ni [at%]\n1,2\n3,4x\n", r"line 3, column 'Ni \[at%\]': '4x' is no number"),
        ("Fe;Ni\n1,5;2\n1.000,5;2\n", "line 3, column 'Fe'"),
        (
            "x;y\n1.234;2,5\n",
            "line 2, column 'y': '2,5' has a decimal comma, but '1.234' of line 2, column 'x' a decimal",
        ),
        ("x;y\n1;2,5\n3;4,5\n1.5;3\n", "line 4, column 'x': '1.5' has a decimal point, but '2,5' of line 2"),
        ("x\ty\n1\t2,5\n3\t4.5\n", "line 3, column 'y': '4.5' has a decimal point"),
        (
            "x;y\n1.234,5;2\n2.000,1;3\n",
            "line 2, column 'x': '1.234,5' has marks of thousands; write thousands without",
        ),
        ('x,y\n1,"1,234.5"\n', "line 2, column 'y': '1,234.5' has marks of thousands"),
        ("x;y\n1\u00a0234,5;2\n", "line 2, column 'x': .* has marks of thousands"),
        (
            'x,y\n"1,5",2\n"2,5",3\n',
            "line 2, column 'x': '1,5' has the mark that separates cells; write decimal points",
        ),
        ("x,y\nnm,V\n1,2\n", r"line 2, column 'x': 'nm' is no number.*gives units, write them into the headings"),
        ("x,Fe\n1,10\n2,20%\n", r"line 3, column 'Fe': '20%' is no number.*heading, as in 'x \[%\]'"),
        ("Fe,Well\n10 at%,A1\n", r"no column holds numbers; write the unit into the heading, as in 'x \[at%\]'"),
        ("Fe,Ni\n", "no row under them"),
        ("Well,Sample\nA1,x\n", "no column holds numbers"),
        ("", "empty"),
        ('Fe,Ni\n"1,2\n', "line"),
        ("Fe\0Ni\n", "zero bytes"),
    ],
)
def test_errors_name_the_row(tmp_path, text, message):
    place = tmp_path / "a.csv"
    place.write_text(text)
    with pytest.raises(UnreadableFile, match=message):
        load(place)
