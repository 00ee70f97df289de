//! What a plain scalar stands for, as kubectl reads it (`sigs.k8s.io/yaml` over go-yaml v2: YAML 1.1
//! booleans and octal numbers, then JSON).

use serde_json::{Number, Value};

/// Whole floats below it are exact.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && let Some(number) = number(text)
    {
        return Value::Number(number);
    }
    Value::String(text.to_owned())
}

/// `strconv.ParseInt(text, 0, 64)` without underscores, then a float.
fn number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix(['+', '-']) {
        Some(digits) => (plain.starts_with('-'), digits),
        None => (false, plain.as_str()),
    };
    let radix = |prefix: [&str; 2]| prefix.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let integer = if let Some(hex) = radix(["0x", "0X"]) {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = radix(["0b", "0B"]) {
        u64::from_str_radix(binary, 2).ok()
    } else if let Some(octal) = radix(["0o", "0O"]) {
        u64::from_str_radix(octal, 8).ok()
    } else if digits.len() > 1 && digits.starts_with('0') && all_digits(digits) {
        // 0644: octal; 0899 is none and falls through to a float, as in Go.
        u64::from_str_radix(digits, 8).ok()
    } else if all_digits(digits) {
        digits.parse().ok()
    } else {
        None
    };
    match (integer, negative) {
        (Some(integer), false) => return Some(Number::from(integer)),
        (Some(integer), true) => {
            if let Ok(integer) = i64::try_from(integer) {
                return Some(Number::from(-integer));
            }
        }
        (None, _) => {}
    }
    if !is_float(digits) {
        return None;
    }
    let float: f64 = plain.parse().ok()?;
    // Go writes a whole float without a point: `replicas: 3.0` arrives as 3.
    #[expect(clippy::cast_possible_truncation, reason = "whole and small enough")]
    match float.fract() == 0.0 && float.abs() < WHOLE_MAX {
        true => Some(Number::from(float as i64)),
        false => Number::from_f64(float),
    }
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// go-yaml's `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`, the sign taken off.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_fits = exponent
        .is_none_or(|exponent| all_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    let mantissa_fits = match mantissa.split_once('.') {
        None => all_digits(mantissa),
        Some(("", fraction)) => all_digits(fraction),
        Some((whole, fraction)) => {
            all_digits(whole) && (fraction.is_empty() || all_digits(fraction))
        }
    };
    exponent_fits && mantissa_fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_read_as_kubectl_reads_them() {
        let cases = [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("~", json!(null)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x10", json!(16)),
            ("1_000", json!(1000)),
            ("-3", json!(-3)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000)),
            ("3.0", json!(3)),
            ("1.2.3", json!("1.2.3")),
            ("100m", json!("100m")),
            ("-", json!("-")),
            ("2026-01-01", json!("2026-01-01")),
            ("10.0.0.1", json!("10.0.0.1")),
        ];
        for (text, value) in cases {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
