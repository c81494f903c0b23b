//! The contract of [`SinkService`]: what an outcome holds for each verdict.

use super::{SinkService, Upload, Verdict};
use crate::error::ErrorKind;

const VERDICTS: [Verdict; 6] = [
    Verdict::Accepted,
    Verdict::TooLarge,
    Verdict::ContentRejected,
    Verdict::Transient,
    Verdict::PermanentlyRefused,
    Verdict::Unknown,
];

/// `service` makes a service that reaches a verdict in its only attempt.
pub(crate) async fn check<S: SinkService>(service: impl Fn(Verdict) -> S) {
    for verdict in VERDICTS {
        let upload = Upload {
            number: 1,
            part: 0,
            label: "first",
            payload: "EmailAddress\nada-marker@contoso.com\n".into(),
        };
        let answer = service(verdict).upload(upload).await;
        assert_eq!(answer.verdict, verdict);
        // The last attempt is in the verdict, not among those of unknown outcome.
        assert_eq!((answer.attempts, answer.unknown_attempts), (1, 0), "{answer:?}");
        assert!(!answer.stop, "{answer:?}");
        assert!(!format!("{answer:?}").contains("marker"), "{answer:?}");
        let kind = answer.error.as_ref().map(|error| error.kind());
        let (expected, has_response) = match verdict {
            Verdict::Accepted => (None, true),
            Verdict::TooLarge | Verdict::ContentRejected | Verdict::PermanentlyRefused => {
                (Some(ErrorKind::Refused), true)
            }
            Verdict::Transient => (Some(ErrorKind::Transient), true),
            Verdict::Unknown => (Some(ErrorKind::Transient), false),
        };
        let actual = (kind, answer.status.is_some());
        assert_eq!(actual, (expected, has_response), "{answer:?}");
    }
}
