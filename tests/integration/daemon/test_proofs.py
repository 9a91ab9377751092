"""The proofs of slots, retries and leadership, in their reduced forms (`make slots transients
leadership` run them in full).
"""

from fixtures import leadership_proof, slot_proof, transient_proof


def test_every_slot_has_one_outcome_and_a_seed_one_log() -> None:
    first = slot_proof.simulate(seed=7, wanted=3000)
    assert first.is_good(), first
    assert first.due >= 3000
    assert {"ok", "failed", "timeout"} <= first.outcomes.keys()
    assert slot_proof.simulate(seed=7, wanted=3000).digest == first.digest


def test_retries_recover_without_amplifying_or_disobeying() -> None:
    result = transient_proof.simulate(seed=3, calls=60_000)
    assert result.is_good(), result
    assert result.storm.requests / result.storm.calls <= 1.15
    assert result.permanent > 100


def test_of_three_leaders_one_leads_whatever_happens_to_it() -> None:
    result = leadership_proof.simulate(slots=25, seed=5)
    assert (result.twice, result.stale) == (0, 0)
    assert result.slots >= 25
    assert result.epochs > 1
