"""Networks: the spiking network and what it is compared with."""
