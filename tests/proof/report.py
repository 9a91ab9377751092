"""The matrix as a table: scenarios down, answers across, how many cells and how they ended."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from proof.cells import Verdict

GOOD = ("agree", "blocked")
BAD = ("doubled", "lost", "differ", "missed")


def print_table(verdicts: Sequence[Verdict], took_s: float) -> None:
    """Print every scenario and answer with its cells, then the counts."""
    by_pair: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in verdicts:
        by_pair[each.scenario, each.answer][each.outcome] += 1
    answers = list(dict.fromkeys(each.answer for each in verdicts))
    scenarios = sorted({each.scenario for each in verdicts})
    width = max(len(name) for name in scenarios)
    print("cells that agree; +n: blocked, for nobody can know; !n: doubled, lost, different\n")
    print(" " * width, *(f"{name:>{len(name) + 1}}" for name in answers))
    for scenario in scenarios:
        cells = (_cell(by_pair.get((scenario, name))) for name in answers)
        row = (f"{cell:>{len(name) + 1}}" for cell, name in zip(cells, answers, strict=True))
        print(f"{scenario:<{width}}", *row)
    _print_counts(verdicts, took_s)


def _cell(outcomes: Counter[str] | None) -> str:
    if outcomes is None:
        return "-"
    bad = sum(outcomes[name] for name in BAD)
    blocked = f"+{outcomes['blocked']}" if outcomes["blocked"] else ""
    return f"{outcomes['agree'] or ''}{blocked}{f'!{bad}' if bad else ''}"


def _print_counts(verdicts: Sequence[Verdict], took_s: float) -> None:
    outcomes = Counter(each.outcome for each in verdicts)
    killed = sum(each.failpoint is not None for each in verdicts)
    waited = sum(each.was_blocked and each.outcome == "agree" for each in verdicts)
    count = len(verdicts) - outcomes["missed"]
    print(f"\n{count} cells in {took_s:.0f} s, {killed} of them with a process killed")
    print(", ".join(f"{outcomes[name]} {name}" for name in (*GOOD, *BAD)))
    print(f"{waited} cells were blocked for a while and agreed once the venue had shown itself")
    for each in [each for each in verdicts if each.outcome in BAD][:20]:
        where = each.failpoint or "nobody died"
        print(f"  {each.outcome}: {each.scenario}, {each.answer}, {where}: {each.detail}")
