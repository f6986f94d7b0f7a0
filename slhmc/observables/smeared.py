"""Observables of smeared links."""

from slhmc.observables.observable import Observable


class OnSmearedLinks(Observable):
    """An observable measured on the links that `network` (slhmc.networks.Network) makes of U."""

    def __init__(self, network, observable: Observable):
        self.network, self.observable, self.name = network, observable, observable.name
        self.channels = getattr(observable, "channels", ())

    def measure(self, U, draws):
        return self.observable.measure(self.network.smear(U), draws)
