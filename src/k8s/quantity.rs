//! Resource quantities (`apimachinery/pkg/api/resource/quantity.go`).

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What larger quantities are taken for (`quantity.go:ParseQuantity`, `maxAllowed`).
const MAX: u64 = i64::MAX as u64;
/// Digits of a fraction that are read.
const FRACTION_DIGITS: usize = 18;

/// The quantity in thousandths of its unit, rounded up; `None` when it is malformed.
pub fn milli(quantity: &Quantity) -> Option<u64> {
    scaled(&quantity.0, 1000)
}

/// The quantity in whole units (bytes), rounded up; `None` when it is malformed.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    scaled(&quantity.0, 1)
}

/// `text` times `factor`, rounded up to a whole number, 2^63-1 at most.
fn scaled(text: &str, factor: u64) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    if number.is_empty() || number == "." {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') {
        return None;
    }
    let kept = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let cut = &fraction[kept.len()..];
    let digits = match format!("{whole}{kept}").parse::<u128>() {
        Ok(digits) => digits.saturating_add(u128::from(cut.bytes().any(|digit| digit != b'0'))),
        // Digits alone: there are too many of them.
        Err(_) => u128::MAX,
    };
    let (multiplier, divisor) = suffix_ratio(suffix)?;
    let divisor = divisor.saturating_mul(10u128.pow(u32::try_from(kept.len()).ok()?));
    let product = digits.saturating_mul(multiplier).saturating_mul(u128::from(factor));
    Some(u64::try_from(product.div_ceil(divisor)).unwrap_or(MAX).min(MAX))
}

/// A suffix as a fraction.
fn suffix_ratio(suffix: &str) -> Option<(u128, u128)> {
    let ratio = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128.saturating_pow(exponent.unsigned_abs());
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    Some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_up() {
        let q = |text: &str| Quantity(text.into());
        assert_eq!(milli(&q("250m")), Some(250));
        assert_eq!(milli(&q("1.5")), Some(1500));
        assert_eq!(milli(&q("100u")), Some(1));
        assert_eq!(bytes(&q("2Gi")), Some(2 << 30));
        assert_eq!(bytes(&q("1e3")), Some(1000));
        assert_eq!(bytes(&q("lots")), None);
        assert_eq!(bytes(&q("1.2.3")), None);
    }

    #[test]
    fn what_is_too_large_is_the_largest_there_is() {
        let q = |text: &str| Quantity(text.into());
        for text in ["20E", "16Ei", "1e40", "1e100", &"9".repeat(60)] {
            assert_eq!(bytes(&q(text)), Some(MAX), "{text}");
            assert_eq!(milli(&q(text)), Some(MAX), "{text}");
        }
        assert_eq!(bytes(&q(&format!("0.{}1", "0".repeat(50)))), Some(1));
        assert_eq!(bytes(&q(&format!("2.{}", "0".repeat(50)))), Some(2));
        assert_eq!(milli(&q("1e-100")), Some(1));
    }
}
