@echo off
rem Windows Explorer: put this file into the folder that the address shell:sendto opens.
rem Right click on photographs > Send to > Enlarge with MSRN: each result is written beside its photograph.
rem msrn.exe must be on the path.
:next
if "%~1"=="" exit /b
msrn upscale "%~f1" --output "%~dpn1_x2.png" --skip-existing || pause
shift
goto next
