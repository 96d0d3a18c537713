"""What broke the theory here: how much of the error each assumption costs, from one rung to the next."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from ntkflow_validation.ladder.score.scores import Horizon, Replicates, jackknife
from ntkflow_validation.ladder.trajectories.descent import DECAY, MINIBATCH, MOMENTUM, NOMINAL, STEP
from ntkflow_validation.runs.compared import Cost

# What NC2 and NC3 are said of; with the global mean in it every rung would look better.
QUANTITY = "M"
Key = tuple[str, tuple[str, ...]]

MOVING = "moving-block"
# The chain, from three constants to the whole tensor: each relaxes one assumption of the rung before and contains it, so
# that what it gains is the price of that assumption. Skills do not add up: in another order the same assumptions have
# other prices, and only of one chain do these sum to the whole error.
CHAIN: tuple[tuple[str, str, str], ...] = (
    ("normalisation that does not move", "block", MOVING),
    ("three constants for all classes", MOVING, "class-block"),
    ("isotropic neurons", "class-block", "neuron-diagonal"),
    ("neurons that do not see each other", "neuron-diagonal", "class-matrix"),
    ("homogeneous blocks", "class-matrix", "tensor"),
)
# Not part of the chain: another way to the same end, whose price holds beside it.
ASIDE: tuple[tuple[str, str, str], ...] = (
    ("homogeneous blocks, isotropic neurons kept", "class-block", "sample"),
    ("constants that do not move", "block", "block-in-time"),
    ("constants averaged over all directions", "block", "row-block"),
    ("normalisation that does not move, whole tensor", "tensor-still", "tensor"),
)
# Modifications are added one by one to the richest rung that never passes through the network: steps of the whole tensor
# are a pass each.
CARRIER = "class-matrix"
TOP = "tensor"
WORDS = {
    STEP: "infinitesimal steps",
    MOMENTUM: "no inertia",
    DECAY: "no decay",
    MINIBATCH: "all samples at once",
}


def attribute(
    scores: Mapping[Key, Horizon], modifications: Sequence[tuple[str, ...]], coupled: bool = False
) -> list[Cost]:
    """Costs along the chain, then of the modifications, then the rest, then the ones aside.

    Rungs that are missing are skipped: the next one found takes over both assumptions.

    Args:
        scores: of every prediction, by rung and modifications.
        modifications: growing tuples of them, as they were run on `CARRIER`.
        coupled: whether normalisation moves; otherwise that assumption is none.
    """
    words = {end: assumption for assumption, _, end in CHAIN if coupled or end != MOVING}
    names = [name for name in ("block", *words) if (name, ()) in scores]
    if len(names) < 2:
        return []
    whole = modifications[-1] if modifications else ()
    # With both run as trained, homogeneity is given up last and nothing of the modifications is left in the rest.
    as_trained = whole != () and {(CARRIER, whole), (TOP, whole), (CARRIER, ())} <= set(scores)
    if as_trained and TOP in names:
        names.remove(TOP)
    order = ["block", *words]
    found = []
    for a, b in itertools.pairwise(names):
        between = order[order.index(a) + 1 : order.index(b) + 1]
        found.append(_cost(" and ".join(words[x] for x in between), a, b, scores[a, ()], scores[b, ()]))
    skipped = [words[x] for x in order[order.index(names[-1]) + 1 :]]
    rest = 1 - scores[names[-1], ()].replicates(QUANTITY)
    before: tuple[str, ...] = ()
    for kept in modifications:
        if (CARRIER, kept) not in scores or (CARRIER, before) not in scores:
            continue
        added = " and ".join(WORDS[x] for x in kept if x not in before)
        one, other = scores[CARRIER, before], scores[CARRIER, kept]
        found.append(_cost(added, _label(before), _label(kept), one, other))
        rest = rest - (other.replicates(QUANTITY) - one.replicates(QUANTITY))
        before = kept
    end = names[-1]
    if as_trained:
        one, other = scores[CARRIER, whole], scores[TOP, whole]
        found.append(_cost(words[TOP], _label(whole), _label(whole, TOP), one, other))
        skipped, rest, end = [], 1 - other.replicates(QUANTITY), _label(whole, TOP)
    left = " and ".join([*skipped, "a kernel that does not move"])
    found.append(_lost(left, end, "observed", rest))
    return [*found, *_aside(scores)]


def _aside(scores: Mapping[Key, Horizon]) -> Iterator[Cost]:
    """Costs that are not part of the chain."""
    for assumption, a, b in ASIDE:
        if (a, ()) in scores and (b, ()) in scores:
            yield _cost(assumption, a, b, scores[a, ()], scores[b, ()], chain=False)
    clocked = [name for name in (CARRIER, "block") if {(name, (NOMINAL,)), (name, ())} <= set(scores)]
    for name in clocked[:1]:
        before, after = scores[name, (NOMINAL,)], scores[name, ()]
        yield _cost("a rate that does not change", _label((NOMINAL,), name), name, before, after, chain=False)


def _label(modifications: tuple[str, ...], rung: str = CARRIER) -> str:
    return rung if not modifications else f"{rung} with {', '.join(modifications)}"


def _cost(words: str, a: str, b: str, before: Horizon, after: Horizon, chain: bool = True) -> Cost:
    # Of the same samples left out of both, so that what the two scores share cancels.
    return _lost(words, a, b, after.replicates(QUANTITY) - before.replicates(QUANTITY), chain)


def _lost(words: str, a: str, b: str, replicates: Replicates, chain: bool = True) -> Cost:
    score = jackknife(replicates.tolist()).written
    return Cost(words, a, b, score.value, score.error, QUANTITY, chain)


def chain(coupled: bool = False) -> tuple[str, ...]:
    """Rungs of the chain in its order; without the one whose normalisation moves where none does."""
    return ("block", *(end for _, _, end in CHAIN if coupled or end != MOVING))


def sentence(costs: Sequence[Cost], first: float | None, missing: Mapping[str, str] | None = None) -> str:
    """The honest sentence: how far the first rung is off, and which assumptions that is due to.

    Args:
        costs: as `attribute` gives them.
        first: skill of the first rung.
        missing: rungs of the chain that predicted nothing, and why.
    """
    links = [(c.cost, c) for c in costs if c.chain and c.cost is not None]
    named = "; ".join(f"{', '.join(names)} ({why})" for why, names in _by_reason(missing or {}).items())
    if first is None:
        return f"There is nothing to attribute; missing of the chain: {named or 'a rung'}."
    error = 1 - first
    parts = [
        f"On the centred class means the three-constant kernel has skill {first:.2f}, "
        f"that is {_amount(error)} the error of assuming that nothing changes."
    ]
    if not links:
        parts.append(f"Which assumption costs it is not told; missing of the chain: {named or 'a rung'}.")
        return " ".join(parts)
    # Below this share of the whole, or this much in all, a cost is not worth a clause.
    worth = max(0.05 * error, 0.01)
    large = [_clause(lost, c) for lost, c in sorted(links, key=lambda pair: -pair[0]) if lost > worth]
    negative = [_clause(lost, c) for lost, c in links if lost < -worth]
    if large:
        parts.append(f"What costs most: {'; '.join(large)}.")
    if negative:
        parts.append(f"Giving up these makes it worse, so errors cancel: {'; '.join(negative)}.")
    if named:
        parts.append(f"Missing of the chain, each counted with the next rung: {named}.")
    return " ".join(parts)


def _by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in missing.items():
        found.setdefault(why, []).append(name)
    return found


def _clause(lost: float, cost: Cost) -> str:
    sure = "" if cost.error is None else f" +- {cost.error:.2g}"
    # Two standard errors: about one in twenty of what is nothing would pass for something.
    doubt = "" if cost.error is None or abs(lost) > 2 * cost.error else ", not significant"
    return f"{cost.assumption} ({lost:+.2g}{sure}{doubt})"


def _amount(share: float) -> str:
    return f"{100 * share:.0f} % of" if share < 10 else f"{share:.3g} times"
