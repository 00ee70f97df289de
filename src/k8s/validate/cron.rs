//! Schedules of CronJobs, as `ParseStandard` of the Go library robfig/cron reads them, with its
//! messages.

const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// The units of `time.ParseDuration`; the micro sign and the Greek letter are both taken.
const UNITS: [&str; 8] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What one field may hold; the names stand for the numbers from `min` on.
struct Bounds {
    min: i64,
    max: i64,
    names: &'static [&'static str],
}

/// Minute, hour, day of the month, month, day of the week.
const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: &MONTHS },
    Bounds { min: 0, max: 6, names: &DAYS },
];

/// `schedule` without the time zone before it, if it names one.
pub(super) fn without_zone(schedule: &str) -> Option<&str> {
    let zoned = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="))?;
    zoned.split_once(' ').map(|(_, rest)| rest.trim())
}

/// Says why `schedule` is none.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if let Some(every) = schedule.strip_prefix("@every ") {
        return duration(every)
            .map_err(|why| format!("failed to parse duration {schedule}: time: {why}"));
    }
    if schedule.starts_with('@') {
        let unknown = || format!("unrecognized descriptor: {schedule}");
        return if DESCRIPTORS.contains(&schedule) { Ok(()) } else { Err(unknown()) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let found = fields.len();
        return Err(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
    }
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            bounds.check(range)?;
        }
    }
    Ok(())
}

impl Bounds {
    /// `getRange`: `*`, `a`, `a-b`, each with or without `/step`.
    fn check(&self, range: &str) -> Result<(), String> {
        let (span, step) = match range.split_once('/') {
            Some((span, step)) => (span, Some(step)),
            None => (range, None),
        };
        let (first, last) = match span.split_once('-') {
            Some((first, last)) => (first, Some(last)),
            None => (span, None),
        };
        let (start, mut end) = if matches!(first, "*" | "?") {
            (self.min, self.max)
        } else {
            let start = self.number_or_name(first)?;
            match last {
                Some(last) if last.contains('-') => {
                    return Err(format!("too many hyphens: {range}"));
                }
                Some(last) => (start, self.number_or_name(last)?),
                None => (start, start),
            }
        };
        if let Some(step) = step {
            if step.contains('/') {
                return Err(format!("too many slashes: {range}"));
            }
            if number(step)? == 0 {
                return Err(format!("step of range should be a positive number: {range}"));
            }
            // From there to the end, in steps.
            if last.is_none() {
                end = self.max;
            }
        }
        let (min, max) = (self.min, self.max);
        if start < min {
            Err(format!("beginning of range ({start}) below minimum ({min}): {range}"))
        } else if end > max {
            Err(format!("end of range ({end}) above maximum ({max}): {range}"))
        } else if start > end {
            Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}"))
        } else {
            Ok(())
        }
    }

    fn number_or_name(&self, text: &str) -> Result<i64, String> {
        let place = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        match place.and_then(|place| i64::try_from(place).ok()) {
            Some(place) => Ok(self.min + place),
            None => number(text),
        }
    }
}

/// Go's `time.ParseDuration`: a sign or none, then `0` or numbers, each with its unit.
fn duration(text: &str) -> Result<(), String> {
    let invalid = || format!("invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let has_digit = number.contains(|c: char| c.is_ascii_digit());
        if !has_digit || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let (unit, next) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(format!("missing unit in duration {text:?}"));
        }
        if !UNITS.contains(&unit) {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        }
        rest = next;
    }
    Ok(())
}

fn number(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(number),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0 3 * * *")]
    #[case("*/15 0-6,22 1,15 jan-mar MON-FRI")]
    #[case("5/10 ? * * 0-6/2")]
    #[case("@hourly")]
    #[case("@every 1h30m")]
    #[case("@every +1.5h.5m100\u{b5}s")]
    #[case("@every 0")]
    fn schedules_are_taken(#[case] schedule: &str) {
        assert_eq!(check(schedule), Ok(()));
    }

    #[rstest]
    #[case("99 99 * * *", "end of range (99) above maximum (59): 99")]
    #[case("0 24 * * *", "end of range (24) above maximum (23): 24")]
    #[case("0 0 0 * *", "beginning of range (0) below minimum (1): 0")]
    #[case("0 0 * 13 *", "end of range (13) above maximum (12): 13")]
    #[case("0 0 * * 7", "end of range (7) above maximum (6): 7")]
    #[case("0 9-5 * * *", "beginning of range (9) beyond end of range (5): 9-5")]
    #[case("*/0 * * * *", "step of range should be a positive number: */0")]
    #[case("1-2-3 * * * *", "too many hyphens: 1-2-3")]
    #[case("*/2/3 * * * *", "too many slashes: */2/3")]
    #[case("1/-2 * * * *", "negative number (-2) not allowed: -2")]
    #[case(
        "0 0 * mon *",
        "failed to parse int from mon: strconv.Atoi: parsing \"mon\": invalid syntax"
    )]
    #[case("0 3 * *", "expected exactly 5 fields, found 4: [0 3 * *]")]
    #[case("@noon", "unrecognized descriptor: @noon")]
    #[case("@every", "unrecognized descriptor: @every")]
    #[case("@every ", "failed to parse duration @every : time: invalid duration \"\"")]
    #[case("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\"")]
    #[case("@every .h", "failed to parse duration @every .h: time: invalid duration \".h\"")]
    #[case("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\"")]
    #[case(
        "@every 5 minutes",
        "failed to parse duration @every 5 minutes: time: unknown unit \" minutes\" in duration \
         \"5 minutes\""
    )]
    fn others_are_refused(#[case] schedule: &str, #[case] why: &str) {
        assert_eq!(check(schedule), Err(why.to_owned()));
    }

    #[test]
    fn a_time_zone_comes_first() {
        assert_eq!(without_zone("CRON_TZ=Europe/Berlin 0 3 * * *"), Some("0 3 * * *"));
        assert_eq!(without_zone("TZ=UTC @daily"), Some("@daily"));
        assert_eq!(without_zone("0 3 * * *"), None);
    }
}
