//! What a browser needs: the GPU's name, which wgpu does not pass on, and haste in Firefox.

use super::AdapterReport;
use super::mapped::MapFuture;
use crate::kernel::Class;
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};

/// Milliseconds between two empty submissions. Browsers make it 4 after some in a row.
const INTERVAL: u32 = 2;

/// Fills in what `GPUAdapterInfo` says of a device: wgpu 30 leaves vendor and architecture out, by which tunings and kernels are chosen.
pub(super) fn describe(device: &wgpu::Device, report: &mut AdapterReport, class: &mut Class) {
    let Some(info) = device.as_webgpu().map(|d| property(d.as_ref(), "adapterInfo")) else { return };
    let text = |key| property(&info, key).as_string().unwrap_or_default();
    let vendor = text("vendor");
    let name = [text("description"), format!("{vendor} {}", text("architecture")).trim().to_string()];
    if let Some(name) = name.into_iter().find(|name| !name.is_empty()) {
        report.name = name;
    }
    // NVIDIA's GPUs in machines with a browser are cards. Those of other vendors may be integrated, and count as such.
    if vendor == "nvidia" && !report.is_software() {
        report.kind = "discrete";
        *class = Class::Discrete;
    }
}

/// Hurries a run until its buffers are mapped. Firefox looks only every 100 ms for finished work (bug 1870699), and on every submission:
/// empty ones take MobileNetV2 from 102 to 8 ms. Other browsers are left alone.
pub(super) fn hurry(queue: &wgpu::Queue, mapped: &MapFuture) {
    if !is_firefox() {
        return;
    }
    let (queue, mapped) = (queue.clone(), mapped.clone());
    spawn_local(async move {
        while !mapped.is_ready() {
            sleep(INTERVAL).await;
            queue.submit([]);
        }
    });
}

fn is_firefox() -> bool {
    let navigator = property(&js_sys::global(), "navigator");
    property(&navigator, "userAgent").as_string().is_some_and(|agent| agent.contains("Firefox/"))
}

/// Resolves after `milliseconds`, in a window or a worker.
async fn sleep(milliseconds: u32) {
    let global = js_sys::global();
    let timer = property(&global, "setTimeout");
    let promise = Promise::new(&mut |resolve, _| {
        let Some(timer) = timer.dyn_ref::<Function>() else { return };
        let _ = timer.call2(&global, &resolve, &milliseconds.into());
    });
    // Never rejects. All browsers have `setTimeout`.
    let _ = JsFuture::from(promise).await;
}

/// A property of an object; `undefined` if there is none.
fn property(of: &JsValue, key: &str) -> JsValue {
    Reflect::get(of, &key.into()).unwrap_or(JsValue::UNDEFINED)
}
