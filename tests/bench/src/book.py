"""What a user would do without the product: the same figures by polars from the same file.

Usage: book.py read|json|csv|parquet BOOK.csv OUT, or book.py analyze BOOK.csv REPEATS.
Floats, as most would use: exact decimals would cost polars more, not less.
"""

import sys
import time

import polars as pl


def read(path):
    return pl.read_csv(path, schema_overrides={"symbol": pl.String, "name": pl.String})


def analyze(book):
    total = (pl.col("quantity") * pl.col("last_price")).sum()
    value = pl.col("quantity") * pl.col("last_price")
    cost = pl.col("quantity") * pl.col("avg_cost")
    figures = book.with_columns(
        cost=cost,
        market_value=value,
        unrealized_pnl=value - cost,
        unrealized_pnl_pct=pl.when(cost > 0).then((value - cost) / cost * 100),
        today_pnl=(pl.col("last_price") - pl.col("previous_close")) * pl.col("quantity"),
        concentration_pct=value / total * 100,
        drawdown_pct=pl.when((pl.col("avg_cost") > 0) & (pl.col("last_price") < pl.col("avg_cost")))
        .then((pl.col("avg_cost") - pl.col("last_price")) / pl.col("avg_cost") * 100)
        .otherwise(0.0),
        liquidity_risk_pct=pl.when(pl.col("quantity") > 0)
        .then((pl.col("quantity") - pl.col("available_qty")) / pl.col("quantity") * 100)
        .otherwise(0.0),
    ).with_columns(
        risk_score=pl.min_horizontal(
            pl.lit(100),
            pl.when(pl.col("concentration_pct") > 30).then(30).otherwise(0)
            + pl.when(pl.col("drawdown_pct") > 1).then(40).otherwise(0)
            + pl.when(pl.col("liquidity_risk_pct") > 20).then(30).otherwise(0),
        )
    )
    sums = figures.select(pl.col("market_value", "cost", "unrealized_pnl", "today_pnl").sum())
    return figures, sums


def main():
    what, path, third = sys.argv[1:]
    if what == "analyze":
        book = read(path)
        best = float("inf")
        for _ in range(int(third)):
            began = time.perf_counter()
            _, sums = analyze(book)
            best = min(best, time.perf_counter() - began)
        print(f"{best} {sums['market_value'][0]:.2f} {sums['unrealized_pnl'][0]:.2f} {sums['today_pnl'][0]:.2f}")
        return
    figures, _ = analyze(read(path))
    if what == "json":
        figures.write_json(third)
    elif what == "csv":
        figures.write_csv(third)
    else:
        figures.write_parquet(third, compression="snappy")


main()
