//! Tests of what a start tells of its mistakes.

use super::*;

#[test]
fn mistakes_are_told_together_and_an_outage_at_once() -> Result<()> {
    let (topic, bootstrap) = ("t".to_owned(), "b:1".to_owned());
    let missing = ConnectorError::MissingTopic { topic, bootstrap: bootstrap.clone() };
    let away = ConnectorError::Unreachable { bootstrap, reason: "nobody answers".to_owned() };
    let mut mistakes = Mistakes::default();
    assert_eq!(mistakes.note(Ok(7))?, Some(7));
    mistakes.refuse()?;

    assert_eq!(mistakes.note::<()>(Err(Error::new(missing).context("source a")))?, None);
    mistakes.note::<()>(Err(mistake("no such thing")))?;
    let Err(error) = mistakes.refuse() else { panic!("there are mistakes") };
    assert_eq!(exit::code(&error), 2);
    assert_eq!(
        exit::sentences(&error),
        "error: source a.\n  because topic \"t\" does not exist on Kafka at b:1.\n  \
         Create the topic, or correct the option \"topic\"; Herald does not create source topics.\n\
         error: no such thing."
    );

    mistakes.note::<()>(Err(mistake("no such thing")))?;
    let Err(error) = mistakes.note::<()>(Err(away.into())) else { panic!("a broker is away") };
    assert_eq!(exit::code(&error), 1);
    assert!(exit::sentences(&error).starts_with("error: no such thing.\nerror: Kafka at b:1"), "{error:#}");
    Ok(())
}
