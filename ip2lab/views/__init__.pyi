# What the lazy names of this package are: for type checkers and editors, which do not run `__getattr__`.
from ip2lab.views.explorers.learning import LearningExplorer as LearningExplorer
from ip2lab.views.explorers.live import LiveTraining as LiveTraining
from ip2lab.views.explorers.neurons import NeuronExplorer as NeuronExplorer
from ip2lab.views.explorers.plasticity import PlasticityExplorer as PlasticityExplorer
from ip2lab.views.explorers.population import PopulationExplorer as PopulationExplorer
from ip2lab.views.widget.figure import Figure as Figure
from ip2lab.views.widget.figure import show as show
