//! Dates in header fields (RFC 9110, section 5.6.7), as seconds since 1970.

use alloc::format;
use alloc::string::String;

const DAY: u64 = 86_400;
/// 1970-01-01 was a Thursday.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// After 9999 the format has no room for the year.
const LAST: u64 = 253_402_300_799;

/// The date as it is to be sent: `Sun, 06 Nov 1994 08:49:37 GMT`. What is after the year 9999 becomes its end.
pub fn format(seconds: u64) -> String {
    let seconds = seconds.min(LAST);
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    let (name, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// What a client says, in the one format that is still sent or one of the two old ones; `None` for what is no date, or one
/// before 1970.
///
/// The format of RFC 850 has two digits for the year; without a clock, those from 70 on are of the last century.
pub fn parse(value: &str) -> Option<u64> {
    let (day_name, rest) = value.split_once(' ')?;
    if let Some(name) = day_name.strip_suffix(',') {
        let rest = rest.strip_suffix(" GMT")?;
        let (date, time) = rest.rsplit_once(' ')?;
        let time = clock(time)?;
        return match *date.split([' ', '-']).collect::<alloc::vec::Vec<_>>() {
            [day, month, year] if date.contains('-') => {
                let short = digits(year, 2)?;
                let year = if short < 70 { 2000 + short } else { 1900 + short };
                (name.len() > 3).then(|| seconds(year, month, digits(day, 2)?, time))?
            }
            [day, month, year] if DAYS.contains(&name) => {
                seconds(digits(year, 4)?, month, digits(day, 2)?, time)
            }
            _ => None,
        };
    }
    // asctime: "Sun Nov  6 08:49:37 1994".
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    let day = match day.strip_prefix(' ') {
        Some(digit) => digits(digit, 1)?,
        None => digits(day, 2)?,
    };
    DAYS.contains(&day_name).then(|| seconds(digits(year, 4)?, month, day, clock(time)?))?
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let all = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

/// `08:49:37` in seconds.
fn clock(text: &str) -> Option<u64> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    // 60 is a leap second.
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn seconds(year: u64, month: &str, day: u64, time: u64) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let days = days(year, month, day).filter(|days| civil(*days) == (year, month, day))?;
    Some(days * DAY + time)
}

/// Days from 1970 to a date of the Gregorian calendar. Years begin in March here, so that a leap day is a year's last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

/// The date that is so many days after 1970-01-01: year, month, day.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const EXAMPLE: u64 = 784_111_777;

    #[test]
    fn the_three_formats() {
        assert_eq!(format(EXAMPLE), "Sun, 06 Nov 1994 08:49:37 GMT");
        for value in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(value), Some(EXAMPLE), "{value}");
        }
        assert_eq!(parse("Wednesday, 06-Nov-30 08:49:37 GMT"), Some(EXAMPLE + 36 * 365 * DAY + 9 * DAY));
        assert_eq!(format(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn what_is_no_date() {
        for value in [
            "",
            "now",
            "784111777",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Son Nov  6 08:49:37 1994",
            "Sun Nov ü 08:49:37 1994",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }

    /// Somebody else's implementation.
    #[test]
    fn as_httpdate_has_it() {
        for seconds in (0..LAST).step_by(99_999_991).chain((0..40 * 366 * DAY).step_by(DAY as usize - 7)) {
            let theirs = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(format(seconds), theirs);
            assert_eq!(parse(&theirs), Some(seconds), "{theirs}");
        }
    }
}
