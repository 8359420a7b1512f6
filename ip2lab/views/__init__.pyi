# What the lazy names of this package are: for type checkers and editors, which do not run `__getattr__`.
from ip2lab.views.figure import Figure as Figure
from ip2lab.views.figure import show as show
from ip2lab.views.learning import LearningExplorer as LearningExplorer
from ip2lab.views.live import LiveTraining as LiveTraining
from ip2lab.views.neurons import NeuronExplorer as NeuronExplorer
from ip2lab.views.plasticity import PlasticityExplorer as PlasticityExplorer
from ip2lab.views.population import PopulationExplorer as PopulationExplorer
