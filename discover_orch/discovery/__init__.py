"""The project's tree → the tools that exist, their stages and their order. Runs no code of the user.

`scanner.scan` reads the files that have changed into a `Scan`; `registry.build_registry` makes a `Registry` of it,
with the problems of broken tools. `listing_cache` answers a warm `orch list` from the index. Other packages import
these three, `names` for the words that name tools, `tree` for the signatures of files, `parse_files` and `facts_index`
where one file must be read again, `parallel_map` to read many, and `orch_tag` for the keys of `ORCH`.
"""
