"""The simulation that has to find what is planted."""

from tests.simulation.conftest import simulation as simulation
