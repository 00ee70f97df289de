//! Values that are a number or a percentage.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a fraction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards the next larger integer (maxSurge).
    Up,
    /// Towards the next smaller integer (maxUnavailable).
    Down,
}

/// `value` of `total` (`apimachinery/pkg/util/intstr:GetScaledValueFromIntOrPercent`);
/// `None` when a string is not a percentage. What no int32 holds becomes the nearest that one does.
pub fn scaled_value(value: &IntOrString, total: i32, rounding: Rounding) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = i128::from(total) * i128::from(percent);
            let scaled = match rounding {
                Rounding::Up => product.div_euclid(100) + i128::from(product.rem_euclid(100) != 0),
                Rounding::Down => product.div_euclid(100),
            };
            Some(i32::try_from(scaled).unwrap_or(if scaled < 0 { i32::MIN } else { i32::MAX }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!(scaled_value(&quarter, 3, Rounding::Up), Some(1));
        assert_eq!(scaled_value(&quarter, 3, Rounding::Down), Some(0));
        assert_eq!(scaled_value(&quarter, 10, Rounding::Up), Some(3));
        let huge = IntOrString::String("9000000000000000000%".into());
        assert_eq!(scaled_value(&huge, 3, Rounding::Up), Some(i32::MAX));
        assert_eq!(scaled_value(&IntOrString::String("many".into()), 3, Rounding::Up), None);
    }
}
