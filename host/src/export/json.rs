//! One JSON object with every table, row by row, so that a large book needs no memory.
//!
//! Decimals are JSON numbers with all their digits.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::table::{Cell, Table, moment};
use super::{Export, Meta, PIECE, schema};

/// Writes an export.
///
/// # Errors
///
/// What the writer says.
pub(super) fn write(out: &mut dyn Write, export: &Export<'_>) -> io::Result<()> {
    let tables = export.tables();
    writeln!(out, "{{")?;
    writeln!(out, "\"format\": \"{}\",", schema::FORMAT)?;
    writeln!(out, "\"schema_version\": {},", schema::VERSION)?;
    for (key, value) in meta_fields(&export.meta) {
        writeln!(out, "\"{key}\": {value},")?;
    }
    writeln!(out, "\"units\": {},", schema::units(&tables))?;
    for (place, table) in tables.iter().enumerate() {
        write!(out, "\"{}\": ", table.name)?;
        write_table(out, table)?;
        writeln!(out, "{}", if place + 1 < tables.len() { "," } else { "" })?;
    }
    writeln!(out, "}}")
}

/// Where the figures come from.
pub(super) fn meta_fields(meta: &Meta) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert(
        "made_by".into(),
        format!("qt-host {}", env!("CARGO_PKG_VERSION")).into(),
    );
    fields.insert("as_of".into(), moment(meta.as_of).into());
    fields.insert("as_of_ms".into(), meta.as_of.0.into());
    fields.insert("source".into(), meta.source.clone().into());
    fields.insert("notes".into(), meta.notes.clone().into());
    fields
}

fn write_table(out: &mut dyn Write, table: &Table<'_>) -> io::Result<()> {
    let keys: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| format!("{}\"{}\":", if place == 0 { "" } else { "," }, column.name))
        .collect();
    if table.single && table.rows == 0 {
        return write!(out, "null");
    }
    if !table.single {
        write!(out, "[")?;
    }
    let mut row_text = Vec::new();
    let mut first = true;
    for piece in table.pieces(PIECE) {
        let piece = piece?;
        for row in 0..piece.count() {
            row_text.clear();
            if !table.single {
                row_text.extend_from_slice(if first { b"\n" } else { b",\n" });
            }
            first = false;
            row_text.push(b'{');
            for (column, key) in keys.iter().enumerate() {
                row_text.extend_from_slice(key.as_bytes());
                write_cell(&mut row_text, &piece.cell(row, column))?;
            }
            row_text.push(b'}');
            out.write_all(&row_text)?;
        }
    }
    if !table.single {
        write!(out, "{}]", if table.rows == 0 { "" } else { "\n" })?;
    }
    Ok(())
}

fn write_cell(out: &mut Vec<u8>, cell: &Cell<'_>) -> io::Result<()> {
    match cell {
        Cell::Missing => out.extend_from_slice(b"null"),
        Cell::Text(text) => serde_json::to_writer(&mut *out, text)?,
        Cell::Integer(_) | Cell::Decimal(_) => cell.write_text(out)?,
        // None of these has a character that JSON would want escaped.
        Cell::Symbol(_) | Cell::Timestamp(_) | Cell::Date(_) => {
            out.push(b'"');
            cell.write_text(out)?;
            out.push(b'"');
        }
    }
    Ok(())
}
