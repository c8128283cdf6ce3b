use super::*;

/// NTP's era begins in 1900.
const SINCE_1900: u64 = 2_208_988_800;

/// A server on loopback that gives one answer, made of the question by `answer`.
async fn asked(answer: impl FnOnce([u8; 48]) -> Vec<u8> + Send + 'static) -> Result<Sample, Error> {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 48];
        let (length, client) = server.recv_from(&mut question).await.unwrap();
        assert_eq!(length, 48);
        assert_eq!(question[0] & 7, 3, "mode 3, client");
        server.send_to(&answer(question), client).await.unwrap();
    });
    exchange(address).await
}

/// The answer of a good server of stratum 2 whose clock is `ahead` of this one's.
fn good(question: [u8; 48], ahead: Duration) -> Vec<u8> {
    let now = since_1970() + ahead;
    let fraction = u64::from(now.subsec_nanos()) * (1 << 32) / 1_000_000_000;
    let stamp = (((now.as_secs() + SINCE_1900) << 32) | fraction).to_be_bytes();
    let mut answer = vec![0x24, 2, 6, 0xec];
    answer.extend([0; 12]);
    answer.extend(stamp);
    answer.extend(&question[40..]);
    answer.extend(stamp);
    answer.extend(stamp);
    answer
}

#[tokio::test]
async fn a_good_answer_says_how_far_off_the_clock_is() {
    let sample = asked(|question| good(question, Duration::from_secs(1000))).await.unwrap();
    assert!((999_000_000..1_001_000_000).contains(&sample.offset_us), "{sample:?}");
    assert!(sample.roundtrip_us < 1_000_000, "{sample:?}");
}

#[tokio::test]
async fn answers_that_are_not_good_are_refused() {
    let altered = |at: usize, byte: u8| {
        move |question| {
            let mut answer = good(question, Duration::ZERO);
            answer[at] = byte;
            answer
        }
    };
    for (what, at, byte) in [
        ("not from a server", 0, 0x23),
        ("its clock is not set", 0, 0xe4),
        ("stratum 16", 1, 16),
        ("too far from a clock", 4, 100),
        ("another question's", 31, 1),
    ] {
        // A byte of the origin timestamp happens to be this one in 1 of 256 cases: made different for sure.
        let answer = asked(move |question| {
            let byte = if at == 31 { !question[47] } else { byte };
            altered(at, byte)(question)
        });
        assert!(matches!(answer.await, Err(Error::Answer(_))), "{what}");
    }
    assert!(matches!(
        asked(|question| good(question, Duration::ZERO)[..47].to_vec()).await,
        Err(Error::Answer(_))
    ));
    assert!(matches!(asked(|_| vec![]).await, Err(Error::Answer(_))));
}

#[tokio::test]
async fn a_server_that_sends_away_is_not_asked_again() {
    let kiss = |code: &'static [u8; 4]| {
        move |question| {
            let mut answer = good(question, Duration::ZERO);
            answer[1] = 0;
            answer[12..16].copy_from_slice(code);
            answer
        }
    };
    for (code, refusal) in [(b"DENY", true), (b"RSTR", true), (b"RATE", false)] {
        assert_eq!(asked(kiss(code)).await.unwrap_err().is_refusal(), refusal);
    }
}

#[test]
fn times_that_cannot_be_are_not_taken() {
    let clock = Clock::default();
    let mut discipline = Discipline::default();
    let years_back = -60 * 365 * 86_400 * 1_000_000_i64;
    let sample = Sample { offset_us: years_back, roundtrip_us: 1 };
    assert!(matches!(clock.judge("s", sample, &mut discipline), Err(Error::Time(_))));
    assert_eq!(clock.status(), ClockStatus::default());
}

#[test]
fn the_clock_is_moved_both_ways() {
    let now = Duration::from_secs(100);
    assert_eq!(shifted(now, 1_500_000), Duration::from_millis(101_500));
    assert_eq!(shifted(now, -1_500_000), Duration::from_millis(98_500));
    assert_eq!(shifted(now, i64::MIN), Duration::ZERO);
}
