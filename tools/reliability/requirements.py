"""The requirement of each reliability check, by the part of Muster that it concerns."""

from __future__ import annotations

from collections.abc import Mapping

REQUIREMENTS: Mapping[str, Mapping[str, str]] = {
    "Receiving": {
        "A1": "200 deliveries a second for a minute: half answered in 20 ms, 99 % in 250 ms, all in 2 s, all stored",
        "A2": "wrong signatures are refused, in a time that tells nothing of the right one",
        "A3": "without good secrets nothing is started: one line, exit code 2",
        "A4": "the same delivery a hundred times is one; what means nothing to us does nothing",
        "A5": "bodies of 25 MB do not make it grow by 100 MB",
        "A6": "what nobody can read is set aside after one try, and the rest is done",
        "A7": "a good delivery is answered within 1 s under 200 slow and 2,000 idle clients",
        "A8": "a full disk or a locked database: 503 within 9 s, never 202; afterwards nothing is lost",
    },
    "Crashes": {
        "B1": "10,000 deliveries, 20 % twice, shuffled, 8 % of the "
        "writes fail, workers killed at 25, 50 and 75 %: nothing"
        " lost, nothing twice, the same state as in order; 120 s",
        "B2": "likewise with the door killed at 60 %",
        "B3": "a process dies at each of twelve points, the first, second and tenth time it gets there: likewise",
        "B4": "5 % of the writes arrive 9 s after the connection broke: nothing twice; with a lease that is too short, "
        "something is",
        "B5": "350 comments, ours on the last page, and a list that lags 3 s: nothing twice",
        "B6": "a worker stands still in the middle of a write and goes on: what it writes then is refused",
        "B7": "death between branch, file and pull request: one of each",
        "B8": "SIGTERM under load: gone within 30 s, at once by a second one; nothing lost",
        "B9": "whatever happens, in any order (20,000 examples of 50 steps a night); "
        "six planted bugs are found in 10 min each",
    },
    "Outages, limits, storms": {
        "C1": "two hours without GitHub, 50 open incidents: 200 messages on time by a channel; "
        "afterwards one comment each within 60 s",
        "C2": "30 % of the calls fail for an hour: all done, nothing twice, at most 8 tries each, "
        "each wait twice the one before",
        "C3": "GitHub asks for quiet: none of that installation's calls until then, others go on",
        "C4": "600 comments wait: 1 a second, 80 a minute, 500 an hour, sev1 in the first minute, no limit met, "
        "done in 3,700 s",
        "C5": "bots, flickering labels, floods of reports: 10 comments an hour, 20 calls, 3 pages in 10 min",
        "C6": "tokens, suspension, uninstalling, sinks that fail: renewed once, parked, cancelled, told",
        "C7": "what GitHub will not take is no loop, and ends no incident",
    },
    "Time": {
        "D1": "working hours and local times over both changes of the clock",
        "D2": "durations are elapsed time, whatever the clock on the wall does",
        "D3": "29 February",
        "D4": "a clock that jumps by two hours: nothing rings twice, nothing is left out",
        "D5": "a clock 240 s wrong is let in; tokens are renewed 5 min before their end",
        "D6": "what people write as a time",
        "D7": "a delivery 4.5 h late has the deadlines of a prompt one",
    },
    "Order, and what came past us": {
        "E1": "1,000 permutations of 200 events with a fifth twice: one state",
        "E2": "71 h away: 2,000 deliveries found in 10 min, 5,000 in 90 min, each once; incidents right in 2 min",
        "E3": "80 h away: nothing missing, nothing raked up, a page of the list for 100 issues",
        "E4": "what drifted apart is told and set right within an hour",
    },
    "Storage": {
        "F1": "odd texts are stored alike on every PostgreSQL",
        "F2": "the embedded database survives the death of everything at any moment",
        "F3": "three immediate stops of the server under load: nothing acknowledged is lost",
        "F4": "100,000 rows moved to another server: the same state",
        "F5": "a backup while deliveries are written is one moment; ten writers at a time meet no error",
    },
    "Watching itself": {
        "G1": "all workers killed: not ready within 30 s, no sign of life within 5 min",
        "G2": "each kind of trouble is one alarm, not one a thing",
        "G3": "an incident whose deadline passed unheard is found within 5 min",
    },
    "Strangers, and long absences": {
        "H1": "five hostile pull requests under review (FC-S1): report to board at most twice the time without them, "
        "there and in another installation",
        "H2": "a report that was unanswered for a year (FC-G8): taken in within 2 s, and rebuilt within 5 s",
    },
    "Beyond the list": {
        "Row 3": "GitHub's late, lost and broken answers, as B1 and B4",
        "Row 8": "alarms ring on time, also after a restart",
        "Row 10": "deliveries hours late",
        "Row 12": "99.99 % of 100,000 messages are tried within 60 s of their time; all arrive, or somebody is told",
        "Row 14": "an upgrade with 10,000 rows under load: nothing lost; an older worker does nothing and says so",
    },
}
"""The requirements by part of Muster and check id, as docs/reliability.md shows them."""
