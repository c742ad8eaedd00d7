#!/usr/bin/env bash
# Every fixture in f32 and f16 under Vulkan's validation layer with synchronization checks, on the adapters that are given.
#   bash tests/validation_layer.sh [ADAPTER..]      vulkan by default; needs the package vulkan-validationlayers
set -euo pipefail
cd "$(dirname "$0")/.."
layers=(/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json /etc/vulkan/explicit_layer.d/VkLayer_khronos_validation.json)
ls "${layers[@]}" >/dev/null 2>&1 || [ -f "${layers[0]}" ] || { echo "NOT RUN: no validation layer (apt-get install vulkan-validationlayers)" >&2; exit 2; }
cargo build --locked --release -q
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Informational messages show that the layer is there; they are counted apart.
printf '%s\n' "khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG" "khronos_validation.report_flags = error,warn,info" \
    "khronos_validation.log_filename = $folder/log" >"$folder/vk_layer_settings.txt"
export VK_LAYER_SETTINGS_PATH="$folder" VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation RMNET_CACHE_DIR=none
runs=0
for adapter in "${@:-vulkan}"; do
    for expected in tests/fixtures/*/expected.safetensors; do
        for precision in f32 f16; do
            target/release/rmnet run "$(dirname "$expected")" "$expected" --adapter "$adapter" --precision $precision >/dev/null
            grep -q "Validation Layer Active" "$folder/log" || { echo "the validation layer is not active" >&2; exit 1; }
            if grep -E "\((ERROR|WARN)" "$folder/log"; then
                echo "$expected in $precision on $adapter" >&2
                exit 1
            fi
            runs=$((runs + 1))
        done
    done
done
echo "$runs runs, no word of the validation layer"
