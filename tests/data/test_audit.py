from __future__ import annotations

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recsys_core.data import Interactions, audit
from recsys_core.data.concentration import gini
from recsys_core.errors import DataError, DTypeError

NOW = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
BAD = {
    "empty": {"user_id": [], "item_id": []},
    "missing-column": {"users": [1], "item_id": [1]},
    "null-ids": {"user_id": [1, None], "item_id": [1, 1]},
    "id-type": {"user_id": [1.5], "item_id": [1]},
    "weight-type": {"user_id": [1], "item_id": [1], "weight": ["much"]},
    "finite-weights": {"user_id": [1], "item_id": [1], "weight": [float("nan")]},
    "negative-weights": {"user_id": [1], "item_id": [1], "weight": [-1]},
    "null-times": {"user_id": [1], "item_id": [1], "datetime": [None]},
    "time-format": {"user_id": [1], "item_id": [1], "datetime": ["soon"]},
    "time-range": {"user_id": [1], "item_id": [1], "datetime": [1e30]},
    "time-type": {"user_id": [1], "item_id": [1], "datetime": [[1]]},
}


def checks(report, severity=None):
    return {f.check: f for f in report.findings if severity in (None, f.severity)}


@pytest.mark.parametrize("check", BAD)
def test_the_audit_reports_what_reading_raises_in_the_same_words(check):
    frame = pl.DataFrame(BAD[check])
    report = audit(frame, now=NOW)
    assert not report.ok
    with pytest.raises(DataError) as raised:
        Interactions.from_frame(frame)
    finding = checks(report, "error")[check]
    assert str(raised.value) == str(finding)
    assert type(raised.value) is finding.error
    assert finding.remedy


def test_all_faults_are_listed_at_once_and_the_rest_is_described():
    report = audit(
        pl.DataFrame(
            {"user_id": [1, None], "item_id": [1, 2], "weight": [-1.0, 1.0], "datetime": ["soon", "2024-01-01"]}
        )
    )
    assert list(checks(report, "error")) == ["null-ids", "negative-weights", "time-format"]
    assert (report.n_events, report.n_users, report.n_items, report.density) == (2, None, 2, None)


def test_counts():
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a", "b", "c"],
            "item_id": [1, 2, 1, 1],
            "weight": [1.0, 2.0, 3.0, 6.0],
            "datetime": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04T05:00:00Z"],
        }
    )
    report = audit(frame, now=NOW)
    assert report.ok
    assert (report.n_events, report.n_users, report.n_items, report.n_pairs) == (4, 3, 2, 4)
    assert report.density == pytest.approx(4 / 6)
    assert (report.first_time, report.last_time) == ("2024-01-01T00:00:00Z", "2024-01-04T05:00:00Z")
    assert report.weights == {"min": 1, "p25": 1.75, "median": 2.5, "p75": 3.75, "p99": pytest.approx(5.91), "max": 6,
                              "mean": 3}  # fmt: skip
    assert report.events_per_user["mean"] == pytest.approx(4 / 3)
    assert report.events_per_item["max"] == 3
    assert report.popularity_gini == pytest.approx(0.25)
    assert checks(report)["cold-users"].count == 2
    assert checks(report)["cold-items"].count == 1
    assert audit(Interactions.from_frame(frame), now=NOW) == report


def test_a_clean_table_has_nothing_to_report():
    users, items = np.divmod(np.arange(16), 4)
    report = audit(pl.DataFrame({"user_id": users, "item_id": items}))
    assert report.findings == ()
    assert str(report).endswith("nothing to report")


def test_repeats_and_duplicates():
    frame = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 1],
            "item_id": [1, 1, 1, 2],
            "weight": [1.0, 1.0, 1.0, 1.0],
            "datetime": ["2024-01-01", "2024-01-02", "2024-01-01", "2024-01-01"],
        }
    )
    found = checks(audit(frame, now=NOW))
    assert (found["repeated-pairs"].count, found["repeated-pairs"].rows) == (2, (1, 2))
    assert (found["duplicate-events"].count, found["duplicate-events"].rows) == (1, (2,))
    assert found["duplicate-events"].severity == "warning"
    assert "duplicate-events" not in checks(audit(frame.drop("datetime")))


def test_doubtful_weights():
    frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1], "weight": [1.0, 0.0, 5000.0]})
    found = checks(audit(frame))
    assert found["zero-weights"].rows == (1,)
    assert "the largest, 5000, is over 1000 times the median, 1" in str(found["uneven-weights"])


def test_doubtful_times():
    frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1], "datetime": [0, 1_700_000_000, 1_800_000_000]})
    found = checks(audit(frame, now=NOW))
    assert found["future-times"].rows == (2,)
    assert found["epoch-times"].rows == (0,)
    assert "read as s since 1970-01-01" in str(found["time-unit"])
    assert "future-times" not in checks(audit(frame, now=dt.datetime(2030, 1, 1)))


def test_times_of_two_units():
    seconds = [1_600_000_000 + row for row in range(3)]
    mixed = [*(1000 * second for second in seconds), seconds[0]]
    frame = {"user_id": [1, 2, 3, 4], "item_id": [5, 6, 7, 8]}
    found = checks(audit(pl.DataFrame({**frame, "datetime": mixed}), now=NOW), "warning")["mixed-time-units"]
    assert (found.rows, found.count) == ((3,), 1)
    assert "1 times look like s among times in ms, at row 3" in found.message
    for times in ([*seconds, 3], [*(1000 * second for second in seconds), 0], [1, 2, 3, 4]):
        assert "mixed-time-units" not in checks(audit(pl.DataFrame({**frame, "datetime": times}), now=NOW))


def test_one_column_read_as_users_and_as_items():
    frame = pl.DataFrame({"user_id": [3, 4, 3], "item_id": [3, 4, 5]})
    assert "same-ids" in checks(audit(frame, columns={"item_id": "user_id"}), "warning")
    assert "same-ids" not in checks(audit(frame))


def test_users_whose_times_are_all_equal():
    tied = {"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2], "datetime": [5, 5, 5, 6]}
    assert checks(audit(pl.DataFrame(tied)))["tied-times"].count == 1
    # One event has no order to lose.
    single = {"user_id": [1, 2, 2], "item_id": [1, 1, 2], "datetime": [5, 5, 6]}
    assert "tied-times" not in checks(audit(pl.DataFrame(single)))


@pytest.mark.parametrize(("n", "suspicious"), [(20, False), (21, True)])
def test_more_events_in_a_second_than_a_hand_makes(n, suspicious):
    second = 1_700_000_000_000_000
    micros = np.linspace(second, second + 999_999, n).astype(np.int64)
    frame = pl.DataFrame({"user_id": ["bot"] * n, "item_id": range(n), "datetime": micros})
    assert ("bursts" in checks(audit(frame, now=NOW))) == suspicious
    if suspicious:
        assert "'bot'" in str(checks(audit(frame, now=NOW))["bursts"])


@pytest.mark.parametrize(("n", "suspicious"), [(50, False), (51, True)])
def test_users_of_over_half_of_the_items(n, suspicious):
    users = ["crawler"] * n + ["u"] * (100 - n) + ["v"] * 50
    items = [*range(n), *range(n, 100), *range(50)]
    frame = pl.DataFrame({"user_id": users, "item_id": items})
    assert ("heavy-users" in checks(audit(frame))) == suspicious


def test_ids_that_differ_only_in_spelling():
    frame = pl.DataFrame({"user_id": [1, 2, 3], "item_id": ["Tea", "tea ", "coffee"]})
    assert checks(audit(frame))["similar-ids"].count == 2
    assert "'Tea', 'tea '" in str(checks(audit(frame))["similar-ids"])


def test_ids_of_nothing_but_blanks():
    frame = pl.DataFrame({"user_id": ["u", " ", "v", " "], "item_id": ["a", "b", "", "c"]})
    found = [str(finding) for finding in audit(frame).findings if finding.check == "blank-ids"]
    assert len(found) == 2
    assert "user_id: 2 rows have an id of nothing but blanks" in found[0]
    assert "item_id: 1 row has an id of nothing but blanks" in found[1]


def test_features():
    frame = pl.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 2, 3]})
    films = pl.DataFrame(
        {"item_id": [1, 2, 9], "year": [1.0, float("nan"), 2.0], "kind": ["a", "a", "b"], "tags": [["x"], [], []]}
    )
    report = audit(frame, item_features=films)
    assert report.item_features_missing == pytest.approx({"year": 2 / 3, "kind": 1 / 3, "tags": 1 / 3})
    found = checks(report)
    assert (found["features-unknown"].count, found["features-absent"].count) == (1, 1)
    assert "66.7% of the values are missing" in str(found["features-missing"])
    assert "'kind'" in str(found["features-constant"])
    twice = audit(frame, item_features=pl.DataFrame({"item_id": [1, 1]}))
    assert list(checks(twice, "error")) == ["features-repeated"]


def test_feature_tables_of_other_spelling_are_a_warning():
    frame = pl.DataFrame({"user_id": ["u1", "u2"], "item_id": [1, 2]})
    report = audit(frame, user_features=pl.DataFrame({"user_id": ["U1", "U2"], "age": [1, 2]}))
    assert "check that both tables spell their ids alike" in str(checks(report, "warning")["features-absent"])


def test_unmapped_columns_are_named():
    frame = pl.DataFrame({"user_id": [1], "item_id": [2], "Rating": [1], "timestamp": [1]})
    unmapped = [str(f) for f in audit(frame).findings if f.check == "unmapped-column"]
    assert [('"weight"' in text, "'Rating'" in text) for text in unmapped] == [(True, True), (False, False)]
    assert "'timestamp'" in unmapped[1]


def test_findings_come_with_errors_first_and_all_is_json():
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [1, 1], "weight": [-1.0, 1.0], "time": [1, 2]})
    report = audit(frame, item_features=pl.DataFrame({"item_id": [1], "x": [2]}))
    assert [f.severity for f in report.findings] == ["error", "warning", "info"]
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["ok"] is False
    assert content["findings"][0]["check"] == "negative-weights"
    assert content["item_features_missing"] == {"x": 0.0}
    assert len(report.of("error")) == 1
    text = str(report)
    assert text.startswith("2 events, 1 user, 1 item, density 1\n")
    assert "error: weight: expected a weight of at least 0" in text


def test_no_frame():
    with pytest.raises(DTypeError, match="got dict"):
        audit({})


@given(st.lists(st.integers(0, 50), min_size=1).filter(any))
def test_gini_equals_the_mean_difference(counts):
    x = np.array(counts, dtype=np.float64)
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert gini(np.array(counts)) == pytest.approx(expected)


def test_ids_without_an_event_do_not_count():
    interactions = Interactions.from_csr(sp.csr_matrix([[1.0, 0.0], [0.0, 0.0]]))
    report = audit(interactions)
    assert (interactions.n_users, report.n_users, report.n_items, report.density) == (2, 1, 1, 1)


def test_cells_that_are_no_numbers_are_named_and_the_others_checked_too():
    weights = ["1", "2.5", "oops", "-1", "inf", "NA", "", " 3 ", "5 stars"]
    table = pl.DataFrame({"user_id": range(9), "item_id": range(9), "weight": weights})
    found = {finding.check: finding for finding in audit(table).findings if finding.severity == "error"}
    assert found["weight-type"].rows == (2, 8)
    assert "weight: expected numbers, got rows 2 ('oops'), 8 ('5 stars')" in found["weight-type"].message
    assert found["finite-weights"].rows == (4, 5, 6)
    assert found["negative-weights"].rows == (3,)


def test_negative_weights_are_reported_beside_infinite_ones():
    table = pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "weight": [-1.0, float("inf")]})
    assert {"negative-weights", "finite-weights"} <= {finding.check for finding in audit(table).findings}


def test_one_of_a_kind_is_told_in_the_singular():
    columns = {"user_id": ["a", "a"], "item_id": [1, 1], "weight": [0.0, 2.0], "datetime": ["2024-01-01", "2025-01-01"]}
    found = checks(audit(pl.DataFrame(columns), now=NOW))
    told = {check: finding.message for check, finding in found.items()}
    assert told["repeated-pairs"] == "user_id, item_id: 1 event repeats a pair that an earlier row has, at row 1"
    assert told["zero-weights"] == "weight: 1 is 0, at row 0"
    assert told["future-times"] == "datetime: 1 is in the future, at row 1"
    assert str(audit(pl.DataFrame({"user_id": ["a"], "item_id": [1]}))).startswith("1 event, 1 user, 1 item,")
