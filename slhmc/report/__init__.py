"""Runs of the same physics side by side: do they agree, and what does an independent configuration cost in each?"""

from slhmc.report.comparison import SIGMA_LIMIT, Comparison, compare
from slhmc.report.page import check_page, write_page
from slhmc.report.tables import Table, cost_table, difference_table, notes, observable_table, run_table, verdict

__all__ = ["SIGMA_LIMIT", "Comparison", "Table", "check_page", "compare", "cost_table", "difference_table", "notes",
           "observable_table", "run_table", "verdict", "write_page"]
