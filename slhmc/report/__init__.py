"""Runs in words, numbers and pictures: those of the same physics side by side, and whole campaigns."""

from slhmc.report.campaign import Campaign, Measurements, campaign
from slhmc.report.campaign_page import write_campaign
from slhmc.report.campaign_tables import ensemble_table
from slhmc.report.comparison import SIGMA_LIMIT, Comparison, compare
from slhmc.report.ensemble import Ensemble
from slhmc.report.markup import check_page
from slhmc.report.page import write_page
from slhmc.report.tables import Table, cost_table, difference_table, notes, observable_table, run_table, verdict

__all__ = ["SIGMA_LIMIT", "Campaign", "Comparison", "Ensemble", "Measurements", "Table", "campaign", "check_page", "compare",
           "cost_table", "difference_table", "ensemble_table", "notes", "observable_table", "run_table", "verdict",
           "write_campaign", "write_page"]
