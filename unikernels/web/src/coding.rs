//! Which content coding a client wants (RFC 9110, section 12.5.3).

use crate::fields;

/// Weight of what a client does not mention, and has not excluded: below whatever it does.
const UNMENTIONED: u16 = 0;

/// Whether a client that sends these values of `Accept-Encoding` is sent gzip.
///
/// Nobody is refused for want of a coding: who excludes all is sent the plain file.
pub fn wants_gzip<'a>(values: impl Iterator<Item = &'a str>) -> bool {
    let (mut gzip, mut identity, mut others) = (None, None, None);
    for (name, weight) in values.flat_map(fields::list).filter_map(fields::weighted) {
        let place = match name {
            "*" => &mut others,
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case("identity") => &mut identity,
            _ => continue,
        };
        *place = Some(weight);
    }
    let gzip = gzip.or(others).unwrap_or_default();
    gzip > 0 && gzip >= identity.unwrap_or(UNMENTIONED)
}

#[cfg(test)]
mod tests {
    use super::wants_gzip;

    #[test]
    fn clients_get_what_they_prefer() {
        for (values, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["deflate, gzip;q=0.1, br"], true),
            (&["br", "gzip"], true),
            (&["*"], true),
            (&["br, *;q=0.1"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["*;q=0"], false),
            (&["identity"], false),
            (&["identity, gzip"], true),
            (&["identity;q=0.5, gzip;q=0.4"], false),
            (&["identity;q=0.5, gzip;q=0.5"], true),
            (&["identity;q=0"], false),
            (&["gzip;q=nonsense"], false),
            (&["gzipped, gzi"], false),
        ] {
            assert_eq!(wants_gzip(values.iter().copied()), expected, "{values:?}");
        }
    }
}
