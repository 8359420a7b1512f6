# What the lazy names of this package are: for type checkers and editors, which do not run `__getattr__`.
from ip2lab import analysis as analysis
from ip2lab import examples as examples
from ip2lab import experiments as experiments
from ip2lab import networks as networks
from ip2lab import plasticity as plasticity
from ip2lab import probes as probes
from ip2lab import records as records
from ip2lab import tasks as tasks
from ip2lab import training as training
from ip2lab import views as views
from ip2lab.examples import example as example
from ip2lab.networks import models as models
from ip2lab.plasticity import search_plasticity as search_plasticity
from ip2lab.probes import continue_training as continue_training
from ip2lab.probes import probe as probe
from ip2lab.probes import replay as replay
from ip2lab.properties import PROPERTIES as PROPERTIES
from ip2lab.records import open_run as open_run
from ip2lab.tasks import families as families
from ip2lab.tasks import family as family
from ip2lab.training.trainer import resume as resume
from ip2lab.training.trainer import train as train

__version__: str
