// Microsoft's compilers of HLSL on a list of compute shaders, as wgpu calls them. A Windows program, which tests/translators.py builds
// with MinGW and runs under Wine; the compilers' DLLs lie beside it. Starting Wine takes seconds, so one process compiles many files.
//
//     hlslc.exe fxc|dxc LIST
//
// LIST holds lines `FILE ENTRY`. Standard output gets `ready` when the compiler is loaded, then a line for each: `valid FILE`, or
// `refused FILE` and what the compiler says. The exit code is 0 unless the compiler or the list is missing.

#include <windows.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace {

// What is used of d3dcommon.h and dxcapi.h, which MinGW does not have whole. The order of the functions is their place in the table.
struct Blob : IUnknown {
    virtual void *STDMETHODCALLTYPE GetBufferPointer() = 0;
    virtual SIZE_T STDMETHODCALLTYPE GetBufferSize() = 0;
};
struct DxcResult : IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetStatus(HRESULT *) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetResult(Blob **) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetErrorBuffer(Blob **) = 0;
};
struct DxcBuffer {
    const void *pointer;
    SIZE_T size;
    UINT encoding;
};
struct DxcCompiler : IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Compile(const DxcBuffer *, LPCWSTR *, UINT32, IUnknown *, REFIID, void **) = 0;
};
const GUID CLSID_DXC_COMPILER = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
const GUID IID_DXC_COMPILER = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
const GUID IID_DXC_RESULT = {0xcedb484a, 0xd4e9, 0x445a, {0xb9, 0x91, 0xca, 0x21, 0xca, 0x15, 0x7d, 0xc2}};

using D3dCompile = HRESULT(WINAPI *)(LPCVOID, SIZE_T, LPCSTR, const void *, void *, LPCSTR, LPCSTR, UINT, UINT, Blob **, Blob **);
using DxcCreate = HRESULT(WINAPI *)(REFCLSID, REFIID, void **);

// The text of a blob, which is freed, on one line.
std::string taken(Blob *blob) {
    if (!blob) return "";
    std::string text(static_cast<char *>(blob->GetBufferPointer()), blob->GetBufferSize());
    blob->Release();
    text = text.c_str(); // without the zero at the end
    std::replace_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    return text;
}

std::string numbered(const char *call, HRESULT code) {
    char text[64];
    snprintf(text, sizeof text, "%s: HRESULT %08lx", call, static_cast<unsigned long>(code));
    return text;
}

// Each gives a refusal, or nothing for a shader that is valid.
std::optional<std::string> fxc(D3dCompile compile, const std::string &source, const std::string &entry) {
    const UINT ENABLE_STRICTNESS = 1 << 11;
    Blob *code = nullptr, *messages = nullptr;
    HRESULT result =
        compile(source.data(), source.size(), nullptr, nullptr, nullptr, entry.c_str(), "cs_5_1", ENABLE_STRICTNESS, 0, &code, &messages);
    bool made = code && code->GetBufferSize() > 0;
    if (code) code->Release();
    std::string said = taken(messages);
    if (SUCCEEDED(result) && made) return std::nullopt;
    return said.empty() ? numbered("D3DCompile", result) : said;
}

std::optional<std::string> dxc(DxcCompiler *compiler, const std::string &source, const std::string &entry) {
    const UINT UTF8 = 65001;
    DxcBuffer buffer = {source.data(), source.size(), UTF8};
    std::wstring name(entry.begin(), entry.end());
    LPCWSTR arguments[] = {L"-E", name.c_str(), L"-T", L"cs_6_0", L"-HV", L"2018", L"-no-warnings", L"-Ges"};
    DxcResult *answer = nullptr;
    HRESULT result = compiler->Compile(&buffer, arguments, ARRAYSIZE(arguments), nullptr, IID_DXC_RESULT, reinterpret_cast<void **>(&answer));
    if (FAILED(result) || !answer) return numbered("IDxcCompiler3::Compile", result);
    Blob *code = nullptr, *messages = nullptr;
    answer->GetStatus(&result);
    answer->GetResult(&code);
    answer->GetErrorBuffer(&messages);
    answer->Release();
    bool made = code && code->GetBufferSize() > 0;
    if (code) code->Release();
    std::string said = taken(messages);
    if (SUCCEEDED(result) && made) return std::nullopt;
    return said.empty() ? numbered("IDxcCompiler3::Compile", result) : said;
}

template <typename Function> Function function_of(const char *dll, const char *name) {
    HMODULE module = LoadLibraryA(dll);
    auto found = module ? GetProcAddress(module, name) : nullptr;
    if (!found) {
        std::cerr << dll << ": " << name << " cannot be loaded, error " << GetLastError() << std::endl;
        exit(3);
    }
    return reinterpret_cast<Function>(reinterpret_cast<void *>(found));
}

} // namespace

int main(int count, char **arguments) {
    std::string which = count == 3 ? arguments[1] : "";
    if (which != "fxc" && which != "dxc") {
        std::cerr << "usage: hlslc fxc|dxc LIST" << std::endl;
        return 2;
    }
    D3dCompile compile = nullptr;
    DxcCompiler *compiler = nullptr;
    if (which == "fxc") {
        compile = function_of<D3dCompile>("d3dcompiler_47.dll", "D3DCompile");
    } else {
        auto create = function_of<DxcCreate>("dxcompiler.dll", "DxcCreateInstance");
        HRESULT result = create(CLSID_DXC_COMPILER, IID_DXC_COMPILER, reinterpret_cast<void **>(&compiler));
        if (FAILED(result)) {
            std::cerr << numbered("DxcCreateInstance", result) << std::endl;
            return 3;
        }
    }
    std::ifstream list(arguments[2]);
    if (!list) {
        std::cerr << arguments[2] << ": cannot be read" << std::endl;
        return 3;
    }
    std::cout << "ready" << std::endl;
    for (std::string file, entry; list >> file >> entry;) {
        std::ifstream stream(file, std::ios::binary);
        std::string source{std::istreambuf_iterator<char>(stream), {}};
        auto refusal = source.empty() ? std::optional<std::string>("the file cannot be read")
            : compile                 ? fxc(compile, source, entry)
                                      : dxc(compiler, source, entry);
        // Flushed each time: what was judged before a crash stays known.
        std::cout << (refusal ? "refused " : "valid ") << file << " " << refusal.value_or("") << std::endl;
    }
}
