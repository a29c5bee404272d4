import Foundation
import PackagePlugin

/// Makes `SQL`, an enum with the text of every file below schema/, for the target that uses the plugin.
@main
struct EmbedSQL: BuildToolPlugin {
  func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
    let schema = context.package.directoryURL.appending(path: "schema")
    let files = (FileManager.default.enumerator(at: schema, includingPropertiesForKeys: nil)?.allObjects ?? [])
      .compactMap { $0 as? URL }
      .filter { $0.pathExtension == "sql" }
      .sorted { $0.path < $1.path }
    let output = context.pluginWorkDirectoryURL.appending(path: "SQL.swift")
    return [
      .buildCommand(
        displayName: "Embedding schema/*.sql",
        executable: try context.tool(named: "embed-sql").url,
        arguments: [output.path, schema.path] + files.map(\.path),
        inputFiles: files,
        outputFiles: [output])
    ]
  }
}
