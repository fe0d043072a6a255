//! What is printed: a table for people, or JSON.

use std::fmt;

use serde_json::{Map, Value, json};

/// One cell.
#[derive(Debug, Clone)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A figure and how many decimals of it mean something.
    Figure(f64, usize),
    /// Nothing was measured here.
    Nothing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.pad(text),
            Self::Figure(figure, decimals) => f.pad(&format!("{figure:.decimals$}")),
            Self::Nothing => f.pad("-"),
        }
    }
}

/// Rows of one measurement.
#[derive(Debug)]
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty one; units stand in the names of the columns.
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "{}", self.title);
        self.rows.push(cells);
    }

    /// How many rows say in the column `kept` that what was measured is beyond what is allowed.
    pub fn missed(&self) -> usize {
        let Some(kept) = self.columns.iter().position(|name| *name == "kept") else {
            return 0;
        };
        let says_no = |row: &&Vec<Cell>| matches!(&row[kept], Cell::Text(text) if text == "NO");
        self.rows.iter().filter(says_no).count()
    }

    /// The table as JSON: its title, and an object a row.
    pub fn json(&self) -> Value {
        let value = |cell: &Cell| match cell {
            Cell::Text(text) => json!(text),
            Cell::Figure(figure, _) => json!(figure),
            Cell::Nothing => Value::Null,
        };
        let row = |cells: &Vec<Cell>| -> Map<String, Value> {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            names.zip(cells.iter().map(value)).collect()
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].to_string().chars().count());
            cells.chain([self.columns[at].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut line = |cells: Vec<String>| -> fmt::Result {
            for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                if at == 0 {
                    write!(f, "  {cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)
        };
        line(self.columns.iter().map(|name| (*name).to_owned()).collect())?;
        for row in &self.rows {
            line(row.iter().map(Cell::to_string).collect())?;
        }
        Ok(())
    }
}

/// The share `percent` of the sorted figures lies at or below this.
pub fn percentile(figures: &[f64], percent: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The middle one.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    percentile(&figures.into_iter().collect::<Vec<_>>(), 50)
}
