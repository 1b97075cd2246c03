//! Amounts as digits: an integer of ten-thousandths, written out, never a float.

/// `amount` in ten-thousandths as text with two places (the rest is dropped by the caller's choice
/// of amounts, never here).
pub(crate) fn two_places(amount: u64) -> String {
    format!("{}.{:02}", amount / 10_000, amount % 10_000 / 100)
}

/// `amount` in ten-thousandths as text with four places.
pub(crate) fn four_places(amount: u64) -> String {
    format!("{}.{:04}", amount / 10_000, amount % 10_000)
}

/// The digits of a decimal with up to four places, as ten-thousandths; `None` if it is no such.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    if places.len() > 4 {
        return None;
    }
    let places: u64 = format!("{places:0<4}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(10_000)?
        .checked_add(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_places() {
        assert_eq!(two_places(1_007_200_000), "100720.00");
        assert_eq!(four_places(951), "0.0951");
        assert_eq!(parse("10693811.98"), Some(106_938_119_800));
        assert_eq!(parse("100720.0"), Some(1_007_200_000));
        assert_eq!(parse("1e5"), None);
    }
}
