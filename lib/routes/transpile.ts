// TypeScript for a browser without a build. Only for the source, where example and tests run: the package has no such file.
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
