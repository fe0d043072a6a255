//! What the exchange's books take in memory, by their depth.

use qt_exchange::Book;
use qt_market::Side;

use crate::process::usage;

/// Books of which each holds so many levels a side, five orders a level.
const SHAPES: [(usize, i64); 4] = [(3_000, 10), (300, 100), (300, 1_000), (30, 10_000)];
const AT_A_LEVEL: i64 = 5;

fn filled(levels: i64) -> Book {
    let mut book = Book::default();
    let mut order = 0;
    for level in 1..=levels {
        for (side, price) in [
            (Side::Buy, 10_000_000 - level * 100),
            (Side::Sell, 10_000_000 + level * 100),
        ] {
            for _ in 0..AT_A_LEVEL {
                order += 1;
                book.rest(order, side, price, 100);
            }
        }
    }
    book
}

/// Measures one shape in a process of its own, where nothing that was freed before can be used again.
pub(crate) fn of_shape(text: &str) -> Option<()> {
    let (count, levels) = text.split_once(':')?;
    let own = || usage(std::process::id()).map_or(0.0, |usage| usage.own_mb);
    let before = own();
    let books: Vec<Book> = (0..count.parse().ok()?)
        .map(|_| filled(levels.parse().unwrap()))
        .collect();
    println!(
        "{} {}",
        own() - before,
        books.iter().map(Book::len).sum::<usize>()
    );
    Some(())
}

fn measured(count: usize, levels: i64) -> (f64, f64) {
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .arg(format!("shape:{count}:{levels}"))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let (grown, orders) = text.trim().split_once(' ').unwrap();
    (grown.parse().unwrap(), orders.parse().unwrap())
}

pub(crate) fn measure_all() -> bool {
    println!("Memory: books with {AT_A_LEVEL} orders at each level:\n");
    println!(
        "  {:>7} {:>14} {:>12} {:>12} {:>14}",
        "books", "levels a side", "orders", "MB", "bytes an order"
    );
    for (count, levels) in SHAPES {
        let (grown, orders) = measured(count, levels);
        println!(
            "  {count:>7} {levels:>14} {orders:>12} {grown:>12.1} {:>14.0}",
            grown * 1e6 / orders
        );
    }
    true
}
