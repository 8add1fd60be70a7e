//! An object store as the place of an export: S3, Google Cloud Storage, Azure.
//!
//! Files are staged in a local folder and sent whole, in parts where they are large. An object appears once it is
//! complete. Stores that cannot create an object only where there is none are refused by their own answer.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

use super::settings::ParquetSink;
use super::store::{ExportStore, VisitFile, process_folder};
use crate::ConnectorError;

/// Bytes of one part of an object; smaller files are sent at once.
const PART_BYTES: usize = 8 << 20;

/// A prefix in an object store.
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    staging_root: PathBuf,
    staging: PathBuf,
    /// The URL, for messages.
    url: String,
    runtime: Runtime,
}

impl Bucket {
    /// The store that the sink's path names. It is not asked yet.
    pub fn open(sink: &ParquetSink, scratch: &Path) -> Result<Bucket, ConnectorError> {
        let (store, prefix) = connect(sink)?;
        Bucket::new(store, (&prefix, &sink.path), scratch)
    }

    /// A prefix of a store; `url` is its name in messages.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        (prefix, url): (&str, &str),
        scratch: &Path,
    ) -> Result<Bucket, ConnectorError> {
        let prefix = match ObjectPath::parse(prefix) {
            Ok(prefix) => prefix,
            Err(error) => return Err(ConnectorError::config("path", error.to_string())),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ConnectorError::io(scratch, error))?;
        let (staging_root, staging) = (scratch.to_path_buf(), scratch.join(process_folder()));
        Ok(Bucket { store, prefix, staging_root, staging, url: url.to_owned(), runtime })
    }

    /// The object of a path; its parts are escaped already.
    fn object(&self, path: &str) -> Result<ObjectPath, ConnectorError> {
        let whole = format!("{}/{path}", self.prefix);
        ObjectPath::parse(whole.trim_start_matches('/')).map_err(|error| self.failure(path, &error.into()))
    }

    /// The failure of a request. One that the store refuses for good does not pass.
    fn failure(&self, path: &str, error: &Error) -> ConnectorError {
        let passes = matches!(error, Error::Generic { .. } | Error::JoinError { .. });
        ConnectorError::Storage { place: format!("{}/{path}", self.url), reason: error.to_string(), passes }
    }

    /// Sends a large file in parts, of which one is in memory.
    async fn send_parts(&self, file: &mut File, object: &ObjectPath) -> Result<(), Error> {
        let mut upload = self.store.put_multipart(object).await?;
        loop {
            let mut part = Vec::new();
            let read = (&*file).take(PART_BYTES as u64).read_to_end(&mut part);
            let sent = match read {
                Ok(0) => break,
                Ok(_) => upload.put_part(PutPayload::from(part)).await,
                Err(error) => Err(Error::NotSupported { source: Box::new(error) }),
            };
            if let Err(error) = sent {
                // The parts that were sent cost until they are given up.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        upload.complete().await?;
        Ok(())
    }
}

impl ExportStore for Bucket {
    fn create(&self, path: &str, content: &[u8]) -> Result<bool, ConnectorError> {
        let object = self.object(path)?;
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(content.to_vec());
        match self.runtime.block_on(self.store.put_opts(&object, payload, options)) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.failure(path, &error)),
        }
    }

    fn replace(&self, path: &str, content: &[u8]) -> Result<(), ConnectorError> {
        let object = self.object(path)?;
        let sent = self.runtime.block_on(self.store.put(&object, PutPayload::from(content.to_vec())));
        sent.map(drop).map_err(|error| self.failure(path, &error))
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ConnectorError> {
        let object = self.object(path)?;
        let read = self.runtime.block_on(async { self.store.get(&object).await?.bytes().await });
        match read {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failure(path, &error)),
        }
    }

    fn list(
        &self,
        folder: &str,
        after: Option<&str>,
        visit: &mut VisitFile<'_>,
    ) -> Result<(), ConnectorError> {
        let prefix = self.object(folder)?;
        let mut found = match after {
            Some(after) => self.store.list_with_offset(Some(&prefix), &self.object(after)?),
            None => self.store.list(Some(&prefix)),
        };
        let own = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        loop {
            match self.runtime.block_on(found.try_next()) {
                Ok(Some(about)) => visit(about.location.as_ref().get(own..).unwrap_or_default(), about.size),
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.failure(folder, &error)),
            }
        }
    }

    fn place(&self, staged: &Path, path: &str) -> Result<(), ConnectorError> {
        let failed = |error| ConnectorError::io(staged, error);
        let object = self.object(path)?;
        let mut file = File::open(staged).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() <= PART_BYTES as u64 {
            let mut content = Vec::new();
            file.read_to_end(&mut content).map_err(failed)?;
            self.replace(path, &content)?;
        } else {
            let sent = self.runtime.block_on(self.send_parts(&mut file, &object));
            sent.map_err(|error| self.failure(path, &error))?;
        }
        std::fs::remove_file(staged).map_err(failed)
    }

    fn fetch(&self, path: &str, copy: &Path) -> Result<PathBuf, ConnectorError> {
        let failed = |error| ConnectorError::io(copy, error);
        let object = self.object(path)?;
        let mut file = File::create(copy).map_err(failed)?;
        let got = self.runtime.block_on(self.store.get(&object));
        let mut pieces = got.map_err(|error| self.failure(path, &error))?.into_stream();
        loop {
            match self.runtime.block_on(pieces.try_next()) {
                Ok(Some(piece)) => file.write_all(&piece).map_err(failed)?,
                Ok(None) => return Ok(copy.to_path_buf()),
                Err(error) => return Err(self.failure(path, &error)),
            }
        }
    }

    fn remove(&self, path: &str) -> Result<(), ConnectorError> {
        let object = self.object(path)?;
        match self.runtime.block_on(self.store.delete(&object)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failure(path, &error)),
        }
    }

    fn staging(&self) -> &Path {
        &self.staging
    }

    fn staging_root(&self) -> &Path {
        &self.staging_root
    }
}

/// The store of a URL `SCHEME://BUCKET/PREFIX`, and the prefix.
#[cfg(feature = "cloud")]
fn connect(sink: &ParquetSink) -> Result<(Arc<dyn ObjectStore>, String), ConnectorError> {
    let (scheme, rest) = sink.path.split_once("://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let store = match scheme {
        "gs" => clouds::google(bucket, &sink.store.0),
        "az" => clouds::azure(bucket, &sink.store.0),
        _ => clouds::s3(bucket, &sink.store.0),
    };
    match store {
        Ok(store) => Ok((store, prefix.to_owned())),
        Err(error) => Err(ConnectorError::config("path", error.to_string())),
    }
}

/// No store: this build has directories alone, and the sink's options were refused.
#[cfg(not(feature = "cloud"))]
fn connect(sink: &ParquetSink) -> Result<(Arc<dyn ObjectStore>, String), ConnectorError> {
    let message = format!("{} is not in this build of Herald", sink.path);
    Err(ConnectorError::config("path", message))
}

/// Clients of the stores. Options stand before the environment variables that the clients know.
#[cfg(feature = "cloud")]
mod clouds {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;
    use object_store::{ObjectStore, Result, RetryConfig};

    /// Repetitions of a request that fails. They are few and short, since the exporter tries its step again itself, with
    /// longer pauses, and the other exports wait for the thread.
    fn retries() -> RetryConfig {
        RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() }
    }

    type Options = BTreeMap<String, String>;

    pub fn s3(bucket: &str, options: &Options) -> Result<Arc<dyn ObjectStore>> {
        let mut s3 = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries());
        if let Some(region) = options.get("region") {
            s3 = s3.with_region(region);
        }
        if let Some(id) = options.get("access_key_id") {
            s3 = s3.with_access_key_id(id);
        }
        if let Some(secret) = options.get("secret_access_key") {
            s3 = s3.with_secret_access_key(secret);
        }
        if let Some(token) = options.get("session_token") {
            s3 = s3.with_token(token);
        }
        if let Some(endpoint) = options.get("endpoint") {
            s3 = s3.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        Ok(Arc::new(s3.build()?))
    }

    pub fn google(bucket: &str, options: &Options) -> Result<Arc<dyn ObjectStore>> {
        let mut gcs = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retries());
        if let Some(account) = options.get("service_account") {
            gcs = gcs.with_service_account_path(account);
        }
        if let Some(endpoint) = options.get("endpoint") {
            gcs = gcs.with_base_url(endpoint);
        }
        Ok(Arc::new(gcs.build()?))
    }

    pub fn azure(container: &str, options: &Options) -> Result<Arc<dyn ObjectStore>> {
        let mut azure =
            MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retries());
        if let Some(account) = options.get("account_name") {
            azure = azure.with_account(account);
        }
        if let Some(key) = options.get("account_key") {
            azure = azure.with_access_key(key);
        }
        if let Some(endpoint) = options.get("endpoint") {
            azure = azure.with_endpoint(endpoint.clone()).with_allow_http(endpoint.starts_with("http://"));
        }
        Ok(Arc::new(azure.build()?))
    }
}
