//! One table as CSV: a line of names, then a line a row; what is missing is an empty field.

use std::io::{self, Write};

use super::PIECE;
use super::table::Table;

/// Writes a table.
///
/// # Errors
///
/// What the writer says.
pub(super) fn write(out: &mut dyn Write, table: &Table<'_>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(table.columns.iter().map(|column| column.name))?;
    let mut text = Vec::new();
    for piece in table.pieces(PIECE) {
        let piece = piece?;
        for row in 0..piece.count() {
            for column in 0..table.columns.len() {
                text.clear();
                piece.cell(row, column).write_text(&mut text)?;
                writer.write_field(&text)?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
    }
    writer.flush()
}
