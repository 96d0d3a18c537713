from ntkflow_validation.figures.windows import worth_drawing


def test_a_window_too_short_for_a_curve_gives_way_to_the_longest():
    assert worth_drawing(0, {0: 3, 28: 12, 1197: 5}) == 28
    assert worth_drawing(0, {0: 6, 28: 12}) == 0
