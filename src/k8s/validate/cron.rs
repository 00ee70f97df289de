//! Schedules of CronJobs, as `ParseStandard` of the Go library robfig/cron reads them, with its
//! messages.

const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
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
    if schedule.starts_with('@') {
        let is_known = DESCRIPTORS.contains(&schedule) || schedule.starts_with("@every ");
        let unknown = || format!("unrecognized descriptor: {schedule}");
        return if is_known { Ok(()) } else { Err(unknown()) };
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
