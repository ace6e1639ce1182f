"""What running costs: slices of instances' lives, the ledger, price books and bills.

Moments are CLOCK_MONOTONIC nanoseconds and money is Decimal; no float is billed.
"""
