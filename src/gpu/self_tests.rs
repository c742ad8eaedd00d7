//! The record of self-tests: which kernels compute right on which driver.

use super::AdapterReport;
use crate::kernel::{self, FamilyId, Precision};
use serde::{Deserialize, Serialize};
use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Version of the file format.
const SCHEMA_VERSION: u32 = 1;

/// Maximum bytes of a record's file. A network takes about one kilobyte per driver.
#[cfg(not(target_arch = "wasm32"))]
const MAX_FILE: u64 = 4 << 20;

/// The record of the process, which every [`Gpu`](super::Gpu) uses unless it is given one of its own.
static OF_PROCESS: LazyLock<Arc<Mutex<SelfTests>>> = LazyLock::new(Arc::default);

/// What self-tests found: which kernels compute right on which driver.
///
/// A session tests every kernel of its plan that has not been tested with this adapter, driver and version of the crate: once with random
/// values and once more with others, each compared with plain loops in f64. A kernel family that is wrong is quarantined in the precision
/// that was tested: other kernels are used instead, and [`Session::quarantined`](crate::Session::quarantined) names it. The results are
/// kept in memory for the life of the process. [`Gpu::self_tests`](crate::Gpu::self_tests) and
/// [`Gpu::with_self_tests`](crate::Gpu::with_self_tests), or [`SelfTests::of_process`] and [`SelfTests::add_to_process`], take them from one
/// start of a program to the next; nothing is read or written implicitly.
///
/// ```
/// use rmnet::SelfTests;
///
/// let tests = SelfTests::default();
/// assert_eq!(SelfTests::from_json(&tests.to_json()), Some(tests));
/// assert_eq!(SelfTests::from_json("{}"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTests {
    schema_version: SchemaVersion,
    drivers: Vec<Driver>,
}

/// The results of one driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Driver {
    adapter: String,
    driver: String,
    backend: String,
    /// Version of this crate, and a hash of its shaders.
    rmnet: String,
    kernels: Vec<TestedKernel>,
}

/// What was tested. Kernels with equal fields have shaders that differ in sizes only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    /// Text of its [`Choice`](crate::kernel::Choice); that of another version of the crate may name a family that this one has not.
    pub(super) kernel: String,
    /// `f32` or `f16`.
    pub(super) precision: String,
    /// The parts of the shader besides the plain sum, and how it is compiled.
    pub(super) with: String,
}

/// A kernel that was tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TestedKernel {
    #[serde(flatten)]
    subject: Subject,
    /// The first wrong value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

/// A kernel family that is not used because it computes wrong on a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The name of the family, such as `winograd-fused`.
    pub family: String,
    /// The precision in which it is not used.
    pub precision: Precision,
    /// The kernel that was tested, and the first wrong value.
    pub problem: String,
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quarantined { family, precision, problem } = self;
        write!(
            f,
            "the driver computes `{family}` kernels wrong in {precision}, so they are not used ({problem})"
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
struct SchemaVersion;

impl Default for SchemaVersion {
    fn default() -> SchemaVersion {
        SchemaVersion
    }
}

impl From<SchemaVersion> for u32 {
    fn from(_: SchemaVersion) -> u32 {
        SCHEMA_VERSION
    }
}

impl TryFrom<u32> for SchemaVersion {
    type Error = String;

    fn try_from(found: u32) -> Result<SchemaVersion, String> {
        match found {
            SCHEMA_VERSION => Ok(SchemaVersion),
            _ => Err(format!("expected schema_version {SCHEMA_VERSION}, found {found}")),
        }
    }
}

impl Driver {
    fn new(adapter: &AdapterReport) -> Driver {
        Driver {
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            backend: adapter.backend.into(),
            rmnet: version(),
            kernels: vec![],
        }
    }

    fn is_of(&self, adapter: &AdapterReport) -> bool {
        (&self.adapter, &self.driver, &*self.backend) == (&adapter.name, &adapter.driver, adapter.backend)
            && self.rmnet == version()
    }

    /// Adds a result. What was wrong once stays wrong.
    fn add(&mut self, tested: TestedKernel) {
        match self.kernels.iter_mut().find(|k| k.subject == tested.subject) {
            Some(known) => known.wrong = known.wrong.take().or(tested.wrong),
            None => self.kernels.push(tested),
        }
    }
}

impl TestedKernel {
    /// The family and precision, if this version of the crate has them.
    fn family(&self) -> Option<(FamilyId, Precision)> {
        let name = self.subject.kernel.split(' ').next()?;
        let family = FamilyId::ALL.into_iter().find(|f| f.name() == name)?;
        let precision = [Precision::F32, Precision::F16].into_iter();
        Some((family, precision.into_iter().find(|p| p.to_string() == self.subject.precision)?))
    }
}

/// The version of the crate and of its shaders.
fn version() -> String {
    format!("{}, shaders {:016x}", env!("CARGO_PKG_VERSION"), kernel::FILES_HASH)
}

impl SelfTests {
    /// The record of this process, which is shared.
    pub(super) fn shared() -> Arc<Mutex<SelfTests>> {
        OF_PROCESS.clone()
    }

    /// A copy of the record of this process: the results of every [`Gpu`](crate::Gpu) that has no record of its own, such as those that
    /// [`Session::open`](crate::Session::open) opens.
    pub fn of_process() -> SelfTests {
        OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds these results to the record of this process. Sessions that are opened from now on do not test those kernels again, and leave
    /// out those that are wrong.
    pub fn add_to_process(self) {
        OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner).merge(self);
    }

    fn kernels(&self, adapter: &AdapterReport) -> &[TestedKernel] {
        self.drivers.iter().find(|d| d.is_of(adapter)).map_or(&[], |d| &d.kernels)
    }

    /// Whether a kernel has been tested on an adapter.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn has(&self, adapter: &AdapterReport, subject: &Subject) -> bool {
        self.kernels(adapter).iter().any(|k| k.subject == *subject)
    }

    /// Adds a result: `wrong` is the first wrong value.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn add(&mut self, adapter: &AdapterReport, subject: Subject, wrong: Option<String>) {
        let at = self.drivers.iter().position(|d| d.is_of(adapter)).unwrap_or_else(|| {
            self.drivers.push(Driver::new(adapter));
            self.drivers.len() - 1
        });
        self.drivers[at].add(TestedKernel { subject, wrong });
    }

    /// The families that are wrong on an adapter in a precision.
    pub(super) fn wrong_families(&self, adapter: &AdapterReport, precision: Precision) -> Vec<FamilyId> {
        let wrong = self.kernels(adapter).iter().filter(|k| k.wrong.is_some());
        let families = wrong.filter_map(TestedKernel::family);
        families.filter(|(_, p)| *p == precision).map(|(family, _)| family).collect()
    }

    /// One entry for each family that is wrong on an adapter, in each precision.
    pub(super) fn quarantined(&self, adapter: &AdapterReport) -> Vec<Quarantined> {
        let mut found: Vec<Quarantined> = vec![];
        for tested in self.kernels(adapter) {
            let (Some(wrong), Some((family, precision))) = (&tested.wrong, tested.family()) else { continue };
            let family = family.to_string();
            if found.iter().all(|q| (&q.family, q.precision) != (&family, precision)) {
                let problem = format!("{}: {wrong}", tested.subject.kernel);
                found.push(Quarantined { family, precision, problem });
            }
        }
        found
    }

    /// Adds the results of `other`. What was wrong in one of them is wrong.
    pub fn merge(&mut self, other: SelfTests) {
        for from in other.drivers {
            let is_same = |own: &&mut Driver| {
                (&own.adapter, &own.driver, &own.backend, &own.rmnet)
                    == (&from.adapter, &from.driver, &from.backend, &from.rmnet)
            };
            match self.drivers.iter_mut().find(is_same) {
                Some(own) => from.kernels.into_iter().for_each(|tested| own.add(tested)),
                None => self.drivers.push(from),
            }
        }
    }

    /// The content of a file, as [`SelfTests::from_json`] reads it.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("text");
        text.push('\n');
        text
    }

    /// Parses the content of a file. `None` if it is damaged or of another schema version: the kernels are then tested again.
    pub fn from_json(text: &str) -> Option<SelfTests> {
        serde_json::from_str(text).ok()
    }

    /// Reads a file, which is a regular file. A file that does not exist, is damaged, is larger than 4 MiB or is of another schema version
    /// gives an empty record: the kernels are then tested again.
    ///
    /// # Errors
    /// Errors of the file system, except that the file does not exist.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(path: impl AsRef<Path>) -> std::io::Result<SelfTests> {
        use std::io::ErrorKind;
        match crate::files::read_text(path.as_ref(), MAX_FILE) {
            Ok(text) => Ok(SelfTests::from_json(&text).unwrap_or_default()),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::FileTooLarge
                ) =>
            {
                Ok(SelfTests::default())
            }
            Err(e) => Err(e),
        }
    }

    /// Writes a file atomically.
    ///
    /// # Errors
    /// Errors of the file system.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn write(&self, path: impl AsRef<Path>) -> std::io::Result<()> {
        crate::output::write_whole(path.as_ref(), |partial| std::fs::write(partial, self.to_json()))
    }
}
