"""Compare layers within and across models and frameworks: `matrix`, and measures that read alike.

    c = compare.matrix(torch_run, flax_run)
    print(c, c.best())

Importing this imports numpy alone.
"""

from actlens.compare.assert_close import assert_close as assert_close
from actlens.compare.comparison import Comparison as Comparison
from actlens.compare.comparison import Match as Match
from actlens.compare.diff import diff as diff
from actlens.compare.diff_result import Diff as Diff
from actlens.compare.layer_diff import LayerDiff as LayerDiff
from actlens.compare.matrix import matrix as matrix
from actlens.compare.measure import Measure as Measure
from actlens.compare.measures import cca as cca
from actlens.compare.measures import cka as cka
from actlens.compare.measures import linear_r2 as linear_r2
from actlens.compare.measures import mutual_knn as mutual_knn
from actlens.compare.measures import procrustes as procrustes
from actlens.compare.measures import pwcca as pwcca
from actlens.compare.measures import ridge as ridge
from actlens.compare.measures import rsa as rsa
from actlens.compare.measures import svcca as svcca
from actlens.compare.moments import Moments as Moments
