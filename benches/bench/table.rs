//! Figures in columns, as they are found: who watches sees the first row before the last is measured.

use std::io::{self, Write};

pub struct Cell {
    pub title: &'static str,
    /// In characters. The first column begins at the left, the others end at the right.
    pub width: usize,
}

pub fn head(cells: &[Cell]) {
    let titles: Vec<String> = cells.iter().map(|cell| cell.title.to_owned()).collect();
    row(cells, &titles);
}

pub fn row(cells: &[Cell], texts: &[String]) {
    let mut line = String::new();
    for (index, (cell, text)) in cells.iter().zip(texts).enumerate() {
        let width = cell.width;
        line.push_str(&match index {
            0 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        });
    }
    println!("{}", line.trim_end());
    // A reader that has gone away is no reason to stop; nor does it want to be told.
    let _ = io::stdout().flush();
}

/// The one in the middle; of an even number the higher. Zero of none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
