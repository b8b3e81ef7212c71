// Builds one file, template.html: what Python fills with text and data. Script and style are inlined, and the policy
// of the page names their hashes: nothing else runs, and nothing is fetched.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const hash = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

function template(): Plugin {
  return {
    name: "template",
    enforce: "post",
    generateBundle(_options, bundle) {
      let script = "";
      let style = "";
      for (const [name, file] of Object.entries(bundle)) {
        if (file.type === "chunk") script += file.code;
        else if (name.endsWith(".css")) style += String(file.source);
        delete bundle[name];
      }
      if (!script || !style) this.error("expected a script and a style to inline, and one of them is empty");
      if (/<\/(script|style)/i.test(script + style)) this.error("the script or the style would end its own element");
      const policy = [
        "default-src 'none'",
        `script-src ${hash(script)}`,
        `style-src ${hash(style)}`,
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
      ].join("; ");
      const source = readFileSync("src/document.html", "utf-8")
        .replace("%POLICY%", () => policy)
        .replace("%STYLE%", () => style)
        .replace("%SCRIPT%", () => script);
      this.emitFile({ type: "asset", fileName: "template.html", source });
    },
  };
}

export default defineConfig({
  plugins: [template()],
  logLevel: "warn",
  build: {
    outDir: "dist",
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    rollupOptions: { input: "src/main.ts", output: { format: "iife" } },
  },
});
