//! One table as CSV: a line of names, then a line a row; what is missing is an empty field.

use std::io::{self, Write};

use super::table::Table;

/// Writes a table.
///
/// # Errors
///
/// What the writer says.
pub(super) fn write(out: &mut dyn Write, table: &Table<'_>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(table.columns.iter().map(|column| column.name))?;
    for row in 0..table.rows {
        for column in 0..table.columns.len() {
            let text = table.cell(row, column).into_text().unwrap_or_default();
            writer.write_field(text.as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()
}
