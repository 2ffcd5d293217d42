"""The measures, one family a file."""

from actlens.compare.measures.cka import CKA as CKA
from actlens.compare.measures.correlation import CCA as CCA
from actlens.compare.measures.correlation import PWCCA as PWCCA
from actlens.compare.measures.correlation import SVCCA as SVCCA
from actlens.compare.measures.neighbors import MutualKNN as MutualKNN
from actlens.compare.measures.predictivity import LinearR2 as LinearR2
from actlens.compare.measures.procrustes import Procrustes as Procrustes
from actlens.compare.measures.ridge import Ridge as Ridge
from actlens.compare.measures.rsa import RSA as RSA

cka = CKA()
procrustes = Procrustes()
cca = CCA()
svcca = SVCCA()
pwcca = PWCCA()
linear_r2 = LinearR2()
ridge = Ridge()
rsa = RSA()
mutual_knn = MutualKNN()

MEASURES = {
    each.name: each for each in (cka, procrustes, cca, svcca, pwcca, linear_r2, ridge, rsa, mutual_knn)
}
