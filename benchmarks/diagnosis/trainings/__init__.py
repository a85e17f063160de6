"""What the diagnosis is tried on: small real trainings, each at many rates and batch sizes, so that most are at fault.

The thresholds of `steepest.analysis.diagnosis.diagnose` may be chosen on SPENT, and on them only. What is published
is measured on
REPORTED, on which none was chosen: they are run once, after everything is fixed, and share nothing with those before
them but the digits' pixels; samples, targets, networks and pairs of loss and rule are others. A set whose figures have
been seen is spent:

    set     new on        right when it was new
    second  2026-11-25    92.7 %
    third   2026-11-26    89.8 % of 1,020 runs
    fourth  2026-11-26    91.5 % of 860; no validation loss was recorded before the first step until then
    fifth   2026-11-26    93.4 % of 881; 94.4 % without starts on a plateau
    sixth   2026-11-26    92.5 % of 941; 92.4 % without starts on a plateau
    seventh 2026-11-26    93.7 % of 882; 94.1 % without starts on a plateau
    eighth  2026-11-26    94.2 % of 886; 94.4 % without starts on a plateau; the rules before, 93.2 %
    ninth   2026-11-26    93.7 % of 903; 94.7 % without starts on a plateau; the rules before the eighth, 93.0 %

Tried in place of the rules: a random forest of 300 trees on the same symptoms, grown on the first six, was right on
95.7 % of the seventh, but of records without a validation split on 82 %, and it failed 17 of the 50 tests of plain
cases, which the rules pass; softmax regression on 34 symptoms, on 93.2 %. The rules stay, and have learned since where
each of their branches is wrong: which symptom, beside those it looks at, would have told.
"""

from benchmarks.diagnosis.trainings import eighth, fifth, first, fourth, ninth, second, seventh, sixth, tenth, third

_SPENT = first, second, third, fourth, fifth, sixth, seventh, eighth, ninth
SPENT = tuple(series for one in _SPENT for series in one.SERIES)
REPORTED = tenth.SERIES
