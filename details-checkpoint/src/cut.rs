//! When a checkpoint is due, and how many rows it takes. Pure.

/// Why a checkpoint is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Only its own size can make it due.
    None,
    /// It is due whatever its size: time has passed, memory is short, or nothing more comes.
    Due,
}

/// How many rows from the front make the next checkpoint; 0 if none is due.
///
/// At most `every` rows, and as many as stay within `bytes`; a row that is larger alone is a checkpoint of its own.
pub(crate) fn cut_len(
    sizes: impl Iterator<Item = u64>,
    every: u32,
    bytes: u64,
    pressure: Pressure,
) -> usize {
    let mut total: u64 = 0;
    let mut rows = 0;
    for size in sizes {
        if rows > 0 && total.saturating_add(size) > bytes {
            return rows;
        }
        total = total.saturating_add(size);
        rows += 1;
        if rows >= every as usize || total >= bytes {
            return rows;
        }
    }
    match pressure {
        Pressure::None => 0,
        Pressure::Due => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(sizes: &[u64], every: u32, bytes: u64, pressure: Pressure) -> usize {
        cut_len(sizes.iter().copied(), every, bytes, pressure)
    }

    #[test]
    fn rows_wait_until_count_or_bytes_trip() {
        assert_eq!(cut(&[], 2, 10, Pressure::None), 0);
        assert_eq!(cut(&[1], 2, 10, Pressure::None), 0);
        assert_eq!(cut(&[1, 1], 2, 10, Pressure::None), 2);
        assert_eq!(cut(&[1, 1, 1], 2, 10, Pressure::None), 2);
        assert_eq!(cut(&[4, 6], 50, 10, Pressure::None), 2);
        assert_eq!(cut(&[4, 7], 50, 10, Pressure::None), 1);
    }

    #[test]
    fn a_row_over_the_limit_is_alone() {
        assert_eq!(cut(&[99, 1], 50, 10, Pressure::None), 1);
        assert_eq!(cut(&[1, 99, 1], 50, 10, Pressure::None), 1);
    }

    #[test]
    fn pressure_takes_what_is_there() {
        assert_eq!(cut(&[], 50, 10, Pressure::Due), 0);
        assert_eq!(cut(&[1, 2], 50, 10, Pressure::Due), 2);
        assert_eq!(cut(&[1, 2, 3], 2, 10, Pressure::Due), 2);
    }
}
