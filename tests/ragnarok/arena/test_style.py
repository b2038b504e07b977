"""Style control, against a generalised linear model of the raw votes."""

import numpy as np
import pytest
import statsmodels.api as sm

from ragnarok.arena.ratings import SCALE
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.style import StyleFit, contrasts, fit_style
from ragnarok.arena.tally import score_of
from ragnarok.arena.types import STYLE, Columns
from ragnarok.errors import Unratable

SCENARIO = Scenario(
    {"plain": 1030, "wordy": 970, "other": 1000},
    votes=1500,
    style=(120.0, 0.0, -60.0),
    wordy={"wordy": 3.0, "plain": 0.7},
)


def fitted(columns: Columns, *, swap: bool = False) -> StyleFit:
    a, b, style = columns.a, columns.b, columns.style
    score = score_of(columns.answer)
    if swap:
        a, b, style, score = b, a, style[:, ::-1], 1 - score
    return fit_style(3, a, b, score, style, names=STYLE)


def test_contrasts_by_hand() -> None:
    style = np.array([[[30, 0, 1], [10, 0, 0]], [[1, 5, 0], [3, 5, 2]]])
    assert contrasts(style).tolist() == [[0.5, 0, 1], [-0.5, 0, -1]]


def test_as_a_generalised_linear_model_has_it() -> None:
    columns = simulate(SCENARIO, seed=5)
    found = fitted(columns)
    told = contrasts(columns.style)
    z = told / np.sqrt((told**2).mean(axis=0))
    rows = np.zeros((len(told), 3))
    rows[np.arange(len(told)), columns.a] = 1
    rows[np.arange(len(told)), columns.b] = -1
    design = np.hstack([rows[:, 1:], z])
    model = sm.GLM(score_of(columns.answer), design, family=sm.families.Binomial())
    result = model.fit(cov_type="HC0", tol=1e-12)
    centre = np.eye(3) - 1 / 3
    np.testing.assert_allclose(found.effects, result.params[2:], atol=1e-8)
    np.testing.assert_allclose(found.covariance, result.cov_params()[2:, 2:], atol=1e-8)
    strength = centre @ np.concatenate([[0], result.params[:2]])
    np.testing.assert_allclose(found.fit.strength, strength, atol=1e-8)
    covariance = centre @ np.pad(result.cov_params()[:2, :2], ((1, 0), (1, 0))) @ centre
    np.testing.assert_allclose(found.fit.covariance, covariance, atol=1e-8)


def test_sides_do_not_matter() -> None:
    columns = simulate(SCENARIO, seed=6)
    shown, swapped = fitted(columns), fitted(columns, swap=True)
    np.testing.assert_allclose(shown.fit.strength, swapped.fit.strength, atol=1e-8)
    np.testing.assert_allclose(shown.effects, swapped.effects, atol=1e-8)


def test_what_never_differs_has_no_effect() -> None:
    columns = simulate(SCENARIO, seed=7)
    columns.style[:, :, 1] = 4
    found = fitted(columns)
    assert np.isnan(found.effects).tolist() == [False, True, False]
    assert np.isnan(found.covariance[1]).all()
    assert np.isfinite(found.fit.strength).all()
    columns.style[:] = 4
    assert np.isnan(fitted(columns).effects).all()


def test_style_bound_to_systems_is_refused() -> None:
    columns = simulate(SCENARIO, seed=8)
    # Every answer has as many words as its system always has, and two systems alone ever meet.
    among = (columns.a < 2) & (columns.b < 2)
    a, b = columns.a[among], columns.b[among]
    style = np.ones((len(a), 2, 1), int) * np.stack([10 + 20 * a, 10 + 20 * b], axis=1)[..., None]
    with pytest.raises(Unratable, match="words cannot be told from the systems"):
        fit_style(2, a, b, score_of(columns.answer[among]), style, names=("words",))


def test_style_that_foretells_every_vote_is_refused() -> None:
    columns = simulate(SCENARIO, seed=9)
    longer = (columns.style[:, 0, 0] > columns.style[:, 1, 0]).astype(float)
    with pytest.raises(Unratable, match="no bound"):
        fit_style(3, columns.a, columns.b, longer, columns.style, names=STYLE)


def test_control_takes_away_what_style_gave() -> None:
    # Same worth; one writes three times as much, and voters like words.
    scenario = Scenario({"plain": 1000, "wordy": 1000}, votes=6000, style=(200, 0, 0), wordy={"wordy": 3.0})
    columns = simulate(scenario, seed=10)
    found = fit_style(2, columns.a, columns.b, score_of(columns.answer), columns.style, names=STYLE)
    low, high = found.fit.interval
    assert low[0] < 1000 < high[0]
    size = np.sqrt((contrasts(columns.style)[:, 0] ** 2).mean())
    reach = 1.96 * np.sqrt(found.covariance[0, 0])
    assert abs(found.effects[0] - 200 / SCALE * size) < reach * 1.5
    assert score_of(columns.answer)[columns.a == 1].mean() > 0.58
