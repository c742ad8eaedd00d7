//! Enumerates adapters in a stable order.

use super::GpuError;
use std::fmt;
use std::str::FromStr;
use wgpu::{Backends, DeviceType, Features, InstanceFlags};

/// A graphics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
    /// OpenGL (ES).
    Gl,
}

impl Backend {
    fn wgpu(self) -> Backends {
        match self {
            Backend::Vulkan => Backends::VULKAN,
            Backend::Metal => Backends::METAL,
            Backend::Dx12 => Backends::DX12,
            Backend::Gl => Backends::GL,
        }
    }
}

/// Which adapter to use.
///
/// ```
/// use rmnet::{AdapterChoice, Backend};
///
/// assert_eq!("best".parse(), Ok(AdapterChoice::Best));
/// assert_eq!("1".parse(), Ok(AdapterChoice::Index(1)));
/// assert_eq!("vulkan".parse(), Ok(AdapterChoice::Backend(Backend::Vulkan)));
/// assert_eq!("pci:0000:01:00.0".parse(), Ok(AdapterChoice::Pci("0000:01:00.0".into())));
/// assert_eq!("GeForce".parse(), Ok(AdapterChoice::Name("GeForce".into())));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdapterChoice {
    /// The best adapter: discrete, then integrated, then others, then software. OpenGL only if no other API has an adapter.
    #[default]
    Best,
    /// The first adapter whose name contains this text, ignoring ASCII case.
    Name(String),
    /// The adapter at this position of [`adapters`].
    Index(usize),
    /// The best adapter of one graphics API.
    Backend(Backend),
    /// The card at this PCI address, `domain:bus:device.function` in hexadecimal digits; the domain defaults to 0.
    Pci(String),
}

impl FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    /// `best`, a number, `vulkan`, `metal`, `dx12`, `gl` or `pci:ADDRESS`; anything else is part of a name.
    fn from_str(text: &str) -> Result<AdapterChoice, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "best" => AdapterChoice::Best,
            "vulkan" => AdapterChoice::Backend(Backend::Vulkan),
            "metal" => AdapterChoice::Backend(Backend::Metal),
            "dx12" => AdapterChoice::Backend(Backend::Dx12),
            "gl" => AdapterChoice::Backend(Backend::Gl),
            lower if lower.starts_with("pci:") => AdapterChoice::Pci(lower["pci:".len()..].into()),
            lower => lower.parse().map_or_else(|_| AdapterChoice::Name(text.into()), AdapterChoice::Index),
        })
    }
}

impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdapterChoice::Best => write!(f, "best"),
            AdapterChoice::Name(name) => write!(f, "{name}"),
            AdapterChoice::Index(index) => write!(f, "{index}"),
            AdapterChoice::Backend(backend) => write!(f, "{}", format!("{backend:?}").to_ascii_lowercase()),
            AdapterChoice::Pci(address) => write!(f, "pci:{address}"),
        }
    }
}

/// An adapter's properties, as reported by wgpu.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterReport {
    /// Its name, such as `NVIDIA H100` or `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// `vulkan`, `metal`, `dx12`, `gl` or `webgpu`.
    pub backend: &'static str,
    /// Driver and its version.
    pub driver: String,
    /// PCI address of the card, such as `0000:01:00.0`, if the driver reports it.
    pub pci: Option<String>,
    /// Minimum and maximum subgroup size, if subgroup operations are available.
    pub subgroup: Option<[u32; 2]>,
    /// Whether GPU time can be measured.
    pub timestamps: bool,
    /// Whether shaders may use 16-bit floats.
    pub f16: bool,
    /// Maximum bytes of one storage binding.
    pub max_binding_bytes: u64,
    /// Maximum bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// Maximum storage buffers per dispatch.
    pub max_storage_buffers: u32,
    /// Maximum bytes of workgroup memory.
    pub max_workgroup_memory: u32,
    /// Maximum invocations per workgroup.
    pub max_workgroup_invocations: u32,
    /// Maximum workgroups per grid dimension.
    pub max_workgroups: u32,
    /// Why it cannot be used; `None` if it can.
    pub problem: Option<String>,
}

impl AdapterReport {
    pub(super) fn new(info: &wgpu::AdapterInfo, features: Features, limits: &wgpu::Limits) -> AdapterReport {
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        };
        let subgroup = [info.subgroup_min_size, info.subgroup_max_size];
        AdapterReport {
            name: match (info.name.as_str(), info.backend, info.device_type) {
                ("", wgpu::Backend::BrowserWebGpu, DeviceType::Cpu) => "fallback adapter".into(),
                ("", ..) => "unnamed adapter".into(),
                (name, ..) => name.into(),
            },
            kind,
            backend: info.backend.to_str(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            pci: pci_address(&info.device_pci_bus_id),
            subgroup: features.contains(Features::SUBGROUP).then_some(subgroup),
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            f16: features.contains(Features::SHADER_F16),
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_buffer_bytes: limits.max_buffer_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            problem: None,
        }
    }
}

impl AdapterReport {
    /// Whether this is a software driver, which runs shaders on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    /// Whether this can be the default device: a hardware GPU with all required features.
    pub fn is_usable_hardware(&self) -> bool {
        !self.is_software() && self.problem.is_none()
    }
}

impl fmt::Display for AdapterReport {
    /// `llvmpipe (LLVM 15.0.6, 256 bits), vulkan, software`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.name, self.backend, self.kind)
    }
}

/// Every adapter, best first; [`AdapterChoice::Index`] counts in this order. OpenGL adapters are listed only if no other API has one.
/// Async on every platform.
pub async fn adapters_async() -> Vec<AdapterReport> {
    all().await.iter().map(report).collect()
}

/// [`adapters_async`], blocking.
#[cfg(not(target_arch = "wasm32"))]
pub fn adapters() -> Vec<AdapterReport> {
    pollster::block_on(adapters_async())
}

/// The adapter that a choice selects.
pub(super) async fn choose(choice: &AdapterChoice) -> Result<wgpu::Adapter, GpuError> {
    let (mut found, reports) = match choice {
        AdapterChoice::Backend(backend) => with_reports(find(backend.wgpu()).await),
        _ => all_with_reports().await,
    };
    let position = match choice {
        AdapterChoice::Index(index) => Some(*index).filter(|i| *i < found.len()),
        AdapterChoice::Name(name) => {
            let name = name.to_ascii_lowercase();
            reports.iter().position(|r| r.name.to_ascii_lowercase().contains(&name))
        }
        AdapterChoice::Pci(address) => pci_address(address)
            .and_then(|address| reports.iter().position(|r| r.pci.as_ref() == Some(&address))),
        AdapterChoice::Best | AdapterChoice::Backend(_) => reports.iter().position(|r| r.problem.is_none()),
    };
    match position {
        Some(i) => match &reports[i].problem {
            None => Ok(found.swap_remove(i)),
            Some(reason) => Err(GpuError::Open { adapter: reports[i].name.clone(), reason: reason.clone() }),
        },
        None => {
            let found: Vec<String> = match choice {
                // List the adapters of the other graphics APIs.
                AdapterChoice::Backend(_) => adapters_async().await.iter().map(ToString::to_string).collect(),
                AdapterChoice::Pci(_) => reports.iter().map(with_address).collect(),
                _ => reports.iter().map(ToString::to_string).collect(),
            };
            let mut remedies = if found.is_empty() { vec![remedy()] } else { vec![] };
            if cfg!(feature = "cpu") {
                remedies.push("the CPU executor needs no adapter");
            }
            let remedy = remedies.join("; ");
            Err(GpuError::NoAdapter { asked: choice.to_string(), found, remedy })
        }
    }
}

/// Normalises a PCI address, with or without domain, to `domain:bus:device.function` in lower-case hexadecimal digits; `None` for other
/// texts.
fn pci_address(text: &str) -> Option<String> {
    let number = |digits: &str| match digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => u32::from_str_radix(digits, 16).ok(),
        // `from_str_radix` would accept a sign.
        false => None,
    };
    let (rest, function) = text.trim().rsplit_once('.')?;
    let parts: Vec<u32> = rest.split(':').map(number).collect::<Option<_>>()?;
    let (domain, bus, device) = match parts[..] {
        [domain, bus, device] => (domain, bus, device),
        [bus, device] => (0, bus, device),
        _ => return None,
    };
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{:x}", number(function)?))
}

fn with_address(report: &AdapterReport) -> String {
    let address = report.pci.as_ref().map_or("no PCI address".into(), |address| format!("pci:{address}"));
    format!("{report} ({address})")
}

/// Advice for when no adapter is found, as a sentence.
pub fn remedy() -> &'static str {
    if cfg!(target_arch = "wasm32") {
        "Use a browser with WebGPU enabled"
    } else if cfg!(target_os = "linux") {
        "Install the Vulkan driver of the graphics card, or mesa-vulkan-drivers for software Vulkan"
    } else if cfg!(windows) {
        "Install the graphics card's driver"
    } else {
        "The system shows no GPU"
    }
}

/// Every adapter, best first, with its report.
pub(super) async fn all_with_reports() -> (Vec<wgpu::Adapter>, Vec<AdapterReport>) {
    with_reports(all().await)
}

fn with_reports(adapters: Vec<wgpu::Adapter>) -> (Vec<wgpu::Adapter>, Vec<AdapterReport>) {
    let reports = adapters.iter().map(report).collect();
    (adapters, reports)
}

async fn all() -> Vec<wgpu::Adapter> {
    // OpenGL starts slowly, and its drivers write to standard error without a display.
    match find(Backends::PRIMARY).await {
        found if found.is_empty() => find(Backends::GL).await,
        found => found,
    }
}

/// Browsers list no adapters: they give one, and on a laptop the integrated GPU unless the faster one is asked for.
#[cfg(target_arch = "wasm32")]
async fn find(backends: Backends) -> Vec<wgpu::Adapter> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    instance(backends).request_adapter(&options).await.into_iter().collect()
}

#[cfg(not(target_arch = "wasm32"))]
async fn find(backends: Backends) -> Vec<wgpu::Adapter> {
    let mut adapters = instance(backends).enumerate_adapters(backends).await;
    // Stable sort: adapters of equal rank keep the driver's order.
    adapters.sort_by_key(|a| rank(&a.get_info()));
    adapters
}

/// The instance for a set of graphics APIs, kept for the life of the process: loading drivers takes time, and unloading them can crash
/// the process at exit (seen with SwiftShader beside llvmpipe: a call into an unloaded library).
#[cfg(not(target_arch = "wasm32"))]
fn instance(backends: Backends) -> wgpu::Instance {
    use std::sync::{Mutex, PoisonError};
    static KEPT: Mutex<Vec<(Backends, wgpu::Instance)>> = Mutex::new(vec![]);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, instance)) = kept.iter().find(|(of, _)| *of == backends) {
        return instance.clone();
    }
    let instance = new_instance(backends);
    kept.push((backends, instance.clone()));
    instance
}

#[cfg(target_arch = "wasm32")]
use new_instance as instance;

fn new_instance(backends: Backends) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    // Validation layers and debug names only on request (WGPU_VALIDATION=1, WGPU_DEBUG=1), in every build.
    descriptor.flags = InstanceFlags::empty().with_env();
    wgpu::Instance::new(descriptor)
}

fn rank(info: &wgpu::AdapterInfo) -> (u8, bool) {
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    };
    (kind, info.backend == wgpu::Backend::Gl)
}

fn report(adapter: &wgpu::Adapter) -> AdapterReport {
    let mut report = AdapterReport::new(&adapter.get_info(), adapter.features(), &adapter.limits());
    let compute = wgpu::DownlevelFlags::COMPUTE_SHADERS;
    if !adapter.get_downlevel_capabilities().flags.contains(compute) {
        report.problem = Some("it has no compute shaders".into());
    } else if report.max_storage_buffers < 4 {
        report.problem =
            Some(format!("shaders may use {} storage buffers, 4 are needed", report.max_storage_buffers));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_that_is_not_there_is_an_error_with_a_remedy() {
        let asked = AdapterChoice::Name("no such card".into());
        let error = pollster::block_on(choose(&asked)).unwrap_err();
        assert!(matches!(error, GpuError::NoAdapter { .. }), "{error}");
        assert!(error.to_string().contains("`no such card`"), "{error}");
    }

    #[test]
    fn choices_print_as_they_are_written() {
        for text in ["best", "3", "dx12", "gl", "metal", "vulkan", "Radeon", "pci:0000:01:00.0"] {
            let choice: AdapterChoice = text.parse().unwrap_or_default();
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn pci_addresses_are_read_in_either_case_with_or_without_a_domain() {
        for text in ["0000:c1:00.0", "0000:C1:00.0", "c1:00.0", " C1:0.0", "00000000:C1:00.0"] {
            assert_eq!(pci_address(text).as_deref(), Some("0000:c1:00.0"), "{text}");
        }
        assert_eq!(pci_address("10000:01:00.1").as_deref(), Some("10000:01:00.1"));
        for text in ["", "0000:c1:00", "c1.0", "0000:+c1:00.0", "0:0:0:0.0", "x1:00.0", "c1:00.", ":00.0"] {
            assert_eq!(pci_address(text), None, "{text}");
        }
        assert_eq!("PCI:01:00.0".parse(), Ok(AdapterChoice::Pci("01:00.0".into())));
    }

    #[test]
    fn an_address_that_no_card_has_is_an_error_that_lists_those_there_are() {
        for address in ["ffff:ff:1f.7", "", "no address"] {
            let error = pollster::block_on(choose(&AdapterChoice::Pci(address.into()))).unwrap_err();
            let GpuError::NoAdapter { asked, found, .. } = &error else { panic!("{error}") };
            assert_eq!(*asked, format!("pci:{address}"));
            assert!(found.iter().all(|f| f.contains("pci:") || f.contains("no PCI address")), "{error}");
        }
    }
}
