//! The order of a module's functions. `gzip` looks back 32 KiB: instances of one generic function are alike, and take little room where they
//! stand together.

use std::collections::HashMap;
use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder, utils};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, FunctionSectionReader, KnownCustom, Name, Parser, Payload,
    TypeRef,
};

/// A module with its functions in the order of their names, and without these names.
pub fn by_name(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let mut ordered = Ordered::read(wasm)?;
    let mut module = Module::new();
    ordered.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

/// The functions that are not imported, in their new order.
struct Ordered {
    imported: u32,
    /// For each new place the old one.
    old: Vec<u32>,
    /// For each old place the new one.
    new: Vec<u32>,
}

impl Ordered {
    fn read(wasm: &[u8]) -> Result<Ordered, Error> {
        let (mut imported, mut defined, mut names) = (0, 0, HashMap::new());
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(functions) => defined = functions.count(),
                Payload::CustomSection(section) => add_names(&section, &mut names)?,
                _ => {}
            }
        }
        let mut old: Vec<u32> = (0..defined).collect();
        old.sort_by_key(|at| names.get(&(imported + at)));
        let mut new = vec![0; old.len()];
        (0..).zip(&old).for_each(|(place, at)| new[*at as usize] = place);
        Ok(Ordered { imported, old, new })
    }
}

/// The names of a section of names, without the brackets that those of implementations begin with.
fn add_names<'a>(section: &CustomSectionReader<'a>, names: &mut HashMap<u32, &'a str>) -> Result<(), Error> {
    let KnownCustom::Name(parts) = section.as_known() else { return Ok(()) };
    for part in parts {
        if let Name::Function(functions) = part? {
            for named in functions {
                let named = named?;
                names.insert(named.index, named.name.trim_start_matches(['<', '&']));
            }
        }
    }
    Ok(())
}

impl Reencode for Ordered {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(match function.checked_sub(self.imported) {
            Some(at) => self.imported + self.new[at as usize],
            None => function,
        })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        let types = section.into_iter().collect::<Result<Vec<u32>, _>>()?;
        for at in &self.old {
            functions.function(types[*at as usize]);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        let bodies = section.into_iter().collect::<Result<Vec<_>, _>>()?;
        for at in self.old.clone() {
            utils::parse_function_body(self, code, bodies[at as usize].clone())?;
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: CustomSectionReader<'_>,
    ) -> Result<(), Error> {
        match section.as_known() {
            KnownCustom::Name(_) => Ok(()),
            _ => RoundtripReencoder.parse_custom_section(module, section),
        }
    }
}
