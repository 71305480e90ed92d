"""Microservice chassis: the technique every service stands on. It knows no noun of the shop."""
