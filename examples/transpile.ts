// TypeScript for a browser without a build: the example and the tests serve the viewer from its source.
import ts from 'typescript'

const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true
}

export function transpile (text: string): string {
  return ts.transpileModule(text, { compilerOptions }).outputText
}
